"""Where a round's files lie, and how masks are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flarekit.consensus.ledger import LEDGER, recorded_files
from flarekit.consensus.table import TABLE
from flarekit.data import nnunet
from flarekit.data.layouts import DESCRIPTION, CaseFiles
from flarekit.errors import OutputError
from flarekit.files import output_errors, refuse_existing, write_json, write_text
from flarekit.labels import IGNORE, LabelSet
from flarekit.volumes import Volume, write_labels, write_map

PLAIN_MASKS, REJECTED_MASKS, UNCERTAINTY = "labels", "rejected", "uncertainty"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """A round's folder."""

    folder: Path
    labels: LabelSet  # of the written masks, with the id of what is ignored
    layout: str

    @classmethod
    def of(cls, folder: Path, labels: LabelSet, layout: str) -> Outputs:
        """Masks keep the organs' ids, and have 255 for ignored voxels (where an organ is 255, the next free id);
        those for nnU-Net have the ids it wants.
        """
        ignore_id = IGNORE if IGNORE not in labels.ids else max(labels.ids) + 1
        written = nnunet.consecutive(labels) if layout == "nnunet" else replace(labels, ignore_id=ignore_id)
        return cls(folder=folder, labels=written, layout=layout)

    @property
    def ledger(self) -> Path:
        """The file of the records."""
        return self.folder / LEDGER

    @property
    def lock(self) -> Path:
        """The file that the process holds which labels the round."""
        return self.folder / "pseudolabel.lock"

    @property
    def masks(self) -> str:
        """The folder of the kept masks, by its name."""
        return nnunet.LABELS if self.layout == "nnunet" else PLAIN_MASKS

    def refuse_inputs(self, images: Iterable[Path], label_maps: Iterable[Path]) -> None:
        """Raises OutputError where files that are read lie in a folder that is written to: no option replaces them.

        `label_maps` are folders, `images` files; images may lie beside the folders of the masks.
        """
        written = {PLAIN_MASKS, nnunet.LABELS, nnunet.IMAGES, REJECTED_MASKS, UNCERTAINTY}
        folders = {(self.folder / name).resolve() for name in written}
        for path in images:
            if path.resolve().parent in folders:
                raise _is_read(path)
        for path in label_maps:
            if path.resolve() in folders | {self.folder.resolve()}:
                raise _is_read(path)

    def prepare(self, *, overwrite: bool = False) -> None:
        """An empty ledger where there is none; with `overwrite` the files of the one there are removed, others stay.

        Raises OutputError when masks, images, a dataset.json or a table lie there without a ledger (and without
        `overwrite`).
        """
        if self.ledger.exists() and not overwrite:
            return
        for name in (self.masks, REJECTED_MASKS, UNCERTAINTY, nnunet.IMAGES, DESCRIPTION, TABLE):
            refuse_existing(self.folder / name, overwrite=overwrite)
        for name in recorded_files(self.ledger):
            for file in (self.folder / name, *nnunet.images_of(self.folder / name)):
                with output_errors(file):
                    file.unlink(missing_ok=True)
        write_text(self.ledger, "", overwrite=overwrite)

    def describe(self, kept: int) -> None:
        """Write dataset.json, which says what the ids in so many kept masks mean. Raises OutputError."""
        if self.layout == "nnunet":
            nnunet.write_description(self.folder, self.labels, kept)
            return
        pairs = [list(pair) for pair in self.labels.pairs]
        description = {"name": self.labels.name, "labels": nnunet.label_ids(self.labels), "pairs": pairs}
        write_json(self.folder / DESCRIPTION, description, overwrite=True)

    def write_mask(self, case: CaseFiles, volume: Volume, classes: np.ndarray, *, kept: bool) -> str:
        """Write classes (Z, H, W), uint8 with IGNORE, as the case's label map; its name within the folder.

        In nnU-Net's layout a kept case brings its image. A file that is there has no record: it was left by a run
        that was killed, or the user passed --overwrite. Raises OutputError.
        """
        if kept and self.layout == "nnunet":
            nnunet.place_image(case, volume, self.folder)
        name = f"{self.masks if kept else REJECTED_MASKS}/{case.name}.nii.gz"
        write_labels(self.folder / name, volume.like(self._ids(classes)), overwrite=True)
        return name

    def write_uncertainty(self, case: CaseFiles, volume: Volume, steps: np.ndarray) -> str:
        """Write a map (Z, H, W), uint8 in steps of 1/255; its name within the folder. Raises OutputError."""
        name = f"{UNCERTAINTY}/{case.name}.nii.gz"
        write_map(self.folder / name, volume.like(steps), overwrite=True)
        return name

    def _ids(self, classes: np.ndarray) -> np.ndarray:
        ids: Sequence[int] = (0, *self.labels.ids)
        table = np.zeros(IGNORE + 1, dtype=np.uint8 if max(*ids, self.labels.ignore_id or 0) <= 255 else np.uint16)
        table[: len(ids)] = ids
        table[IGNORE] = self.labels.ignore_id or 0
        return table[classes]


def _is_read(path: Path) -> OutputError:
    return OutputError("is read and would be written over", where=path, remedy="Choose another output folder.")
