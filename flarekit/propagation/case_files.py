"""Propagation from file to file: what is read, what is written, and what is checked before any work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from flarekit import files
from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.labels import LabelSet
from flarekit.propagation.label_map import propagate_drawing, read_drawing
from flarekit.propagation.report import report
from flarekit.volumes import read_labels, read_volume, require_same_grid, write_labels
from flarekit.volumes.hu import AUTO, HuOffset
from flarekit.volumes.writing import require_writable_format, sidecar_path


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of one case."""

    image: Path  # the CT
    drawn: Path  # the label map drawn on some of its slices
    output: Path  # the label map to write; its JSON gets the same name
    series: str | None = None  # which of a DICOM folder's series
    hu_offset: HuOffset = AUTO  # what is taken off the CT's values to make them HU

    def check(self, *, overwrite: bool) -> None:
        """Raises OutputError where the result could not be written, or would replace what is read."""
        require_writable_format(self.output)
        targets = (self.output, sidecar_path(self.output))
        for target in targets:
            files.refuse_input(target, self.image, self.drawn)
        files.refuse_foreign_json(sidecar_path(self.output))
        for target in targets:
            files.refuse_existing(target, overwrite=overwrite)
            files.require_writable(target)


def propagate_files(
    case: CaseFiles,
    model: Loaded,
    config: PropagationConfig,
    *,
    slices: Sequence[int] | None,
    ids: Collection[int] | None,
    labels: LabelSet,
    device: torch.device,
    partial: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Propagate a file and write the label map and its JSON, which comes back.

    `slices` are the annotated ones, `ids` the labels to carry, and `partial` says that slices show some of them only
    (see `read_drawing`); `labels` names them.
    The result has the CT's axes, and slices are counted along them, even where the drawing is stored in others.
    Raises InputError, UsageError or OutputError.
    """
    image = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
    masks = read_labels(case.drawn, like=image)
    require_same_grid(image, masks)
    drawing = read_drawing(replace(image, array=masks.array, path=masks.path), slices, ids, partial=partial)
    result = propagate_drawing(image, drawing, model, config, device)
    data = report(image, drawing, result, model.card, config, labels)
    write_labels(case.output, result.labels, overwrite=overwrite)
    files.write_json(sidecar_path(case.output), data, overwrite=overwrite)
    return data
