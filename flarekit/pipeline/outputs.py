"""Where the results of a case go, and whether they may be written there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flarekit import files
from flarekit.config.segment import OutputConfig
from flarekit.errors import OutputError, UsageError
from flarekit.renumbering import WrittenLabels
from flarekit.volumes.dicom import is_segmentation_file
from flarekit.volumes.formats import SEGMENTATION_SUFFIX, names_segmentation, stem
from flarekit.volumes.writing import require_writable_format

UNFINISHED = {"format": "flarekit-unfinished", "version": 1}  # of the JSON while its case's files come into place
_ODD = re.compile(r"[^\w.-]+")  # in a file's name


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files of one segmented case. Raises UsageError where two organs would share one, or the mask names none."""

    mask: Path  # the label map or DICOM-SEG, or the folder of one file an organ
    labels: WrittenLabels  # the organs
    config: OutputConfig

    def __post_init__(self) -> None:
        if not self.config.split and self.mask.name in ("", ".."):
            raise UsageError("a label map goes to a file", where=self.mask, remedy="Write -o mask.nii.gz, say.")
        if len(set(self.written)) < len(self.written):
            raise UsageError(
                "two organs would be written to the same file", remedy="Give them other names, or leave out --split."
            )

    @classmethod
    def default(cls, image: Path, labels: WrittenLabels, config: OutputConfig) -> OutputFiles:
        """CASE_seg.nii.gz or CASE_seg.dcm, or the folder CASE_seg, in the current folder."""
        return cls(mask=Path(f"{stem(image)}_seg{config.ending}"), labels=labels, config=config)

    @property
    def sidecar(self) -> Path:
        """The JSON that says what the mask holds."""
        return self.mask / "segmentation.json" if self.config.split else self._beside(".json")

    @property
    def folder(self) -> Path:
        """Where the JSON lies, and all other files or folders of them."""
        return self.sidecar.parent

    @property
    def uncertainty(self) -> Path:
        """The map of the entropy."""
        return self._extra("uncertainty.nii.gz")

    @property
    def statistics(self) -> Path:
        """The table of measurements."""
        return self._extra("statistics.csv")

    @property
    def preview(self) -> Path:
        """The picture of the mask over the CT."""
        return self._extra("preview.png")

    @property
    def report_page(self) -> Path:
        """The page to look the case over in."""
        return self._extra("report.html")

    @property
    def colour_tables(self) -> tuple[Path, Path]:
        """ITK-SNAP's and 3D Slicer's."""
        return self._beside("_itksnap.txt"), self._beside(".ctbl")

    def organ(self, organ_class: int) -> Path:
        """A file of that organ alone."""
        return self.mask / f"{self._word(organ_class)}.nii.gz"

    def probability(self, organ_class: int) -> Path:
        """The map of an organ's probability."""
        return self._extra("probabilities") / f"{self._word(organ_class)}.nii.gz"

    @property
    def written(self) -> tuple[Path, ...]:
        """All files but the JSON."""
        return tuple(self._written())

    @property
    def names(self) -> list[str]:
        """Of all files but the JSON, as seen from its folder."""
        return [path.relative_to(self.folder).as_posix() for path in self.written]

    def within(self, folder: Path) -> OutputFiles:
        """The same files in another folder."""
        return replace(self, mask=folder if self.config.split else folder / self.mask.name)

    def check(self, image: Path | None, *, overwrite: bool) -> bool:
        """Whether what is there may be replaced: with `overwrite`, or where an interrupted run left it.

        `image` is the file that is read, if any. Raises InputError or OutputError where the run could not end well.
        """
        if image is not None:
            files.require_existing(image)
        self._require_format()
        replaced = overwrite or self._is_left_over()
        numbering = self.config.label_map  # one of those that have a name, or a file
        read = [path for path in (image, None if numbering is None else Path(numbering)) if path is not None]
        targets = (*self.written, self.sidecar)
        for target in targets:
            files.refuse_input(target, *read)
        files.refuse_foreign_json(self.sidecar)
        for target in targets:
            files.refuse_existing(target, overwrite=replaced)
            files.require_writable(target)
        return replaced

    def report(self) -> dict[str, Any] | None:
        """What the JSON says; None without one, or where it is none of flarekit's."""
        try:
            found = json.loads(self.sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def earlier(self) -> list[str]:
        """The names of what the JSON there lists of an earlier run, finished or not, and this one does not write."""
        report = self.report() or {}
        lists = [listed for key in ("outputs", "earlier") if isinstance(listed := report.get(key), list)]
        names = dict.fromkeys(name for listed in lists for name in listed if isinstance(name, str))
        keep = set(self.names)
        return [name for name in names if name not in keep and self._could_write(name)]

    def unfinished(self) -> dict[str, Any]:
        """The JSON until all files are in place, and those of an earlier run are gone."""
        return UNFINISHED | {"outputs": self.names, "earlier": self.earlier()}

    def _require_format(self) -> None:
        """Raises OutputError where the mask's name is one of another format, or another DICOM file has it."""
        if self.config.dicom_seg and not names_segmentation(self.mask):
            raise OutputError(
                "is not the name of a DICOM-SEG",
                where=self.mask,
                remedy=f"Let it end in {SEGMENTATION_SUFFIX}, or leave out --dicom-seg.",
            )
        if self.config.dicom_seg and os.path.lexists(self.mask) and not is_segmentation_file(self.mask):
            raise OutputError(
                "is there and is no DICOM-SEG: it may be a slice of the CT",
                where=self.mask,
                remedy="Choose another name: --overwrite replaces segmentations.",
            )
        if not (self.config.dicom_seg or self.config.split):
            require_writable_format(self.mask)

    def _could_write(self, name: str) -> bool:
        """Whether this is a file there, and called as those of a case with this JSON."""
        path = Path(name)
        if ".." in path.parts or path.is_absolute() or not (self.folder / path).is_file():
            return False
        return self.config.split or path.parts[0].startswith(self.sidecar.stem)

    def _is_left_over(self) -> bool:
        report = self.report() or {}
        return (report.get("format"), report.get("outputs")) == (UNFINISHED["format"], self.names)

    def _written(self) -> Iterator[Path]:
        yield from map(self.organ, self.labels.ids) if self.config.split else (self.mask,)
        if self.config.uncertainty:
            yield self.uncertainty
        if self.config.probabilities:
            yield from map(self.probability, self.labels.ids)
        if self.config.statistics:
            yield self.statistics
        if self.config.preview:
            yield self.preview
        if self.config.report:
            yield self.report_page
        if self.config.tables:
            yield from self.colour_tables

    def _word(self, organ_class: int) -> str:
        return _ODD.sub("_", self.labels.model.names[organ_class - 1]).lstrip(".") or "_"

    def _extra(self, name: str) -> Path:
        return self.mask / name if self.config.split else self._beside(f"_{name}")

    def _beside(self, ending: str) -> Path:
        return self.mask.with_name(stem(self.mask) + ending)
