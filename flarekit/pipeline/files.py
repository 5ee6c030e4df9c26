"""Segmentation from file to file: what is read, what is written, and what is checked before any work."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from flarekit import files
from flarekit.checkpoints import Loaded, Registry
from flarekit.config.segment import SegmentConfig
from flarekit.errors import InputError
from flarekit.pipeline.segment import segment
from flarekit.pipeline.segmentation import Segmentation
from flarekit.pipeline.sidecar import sidecar
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.reference import ReferenceModule
from flarekit.report.overlay import draw_overlay, require_png
from flarekit.volumes import Volume, read_volume, write_labels
from flarekit.volumes.formats import stem
from flarekit.volumes.hu import AUTO, HuOffset
from flarekit.volumes.writing import require_writable_format, sidecar_path


@dataclass(frozen=True, kw_only=True)
class SegmentFiles:
    """The files of one segmented case."""

    image: Path  # the CT
    mask: Path  # the label map to write; its JSON gets the same name
    overlay: Path | None = None  # the PNG to draw
    series: str | None = None  # which of a DICOM folder's series
    hu_offset: HuOffset = AUTO  # what is taken off the CT's values to make them HU

    @classmethod
    def of(
        cls,
        image: Path,
        mask: Path | None,
        overlay: Path | None = None,
        *,
        series: str | None = None,
        hu_offset: HuOffset = AUTO,
    ) -> SegmentFiles:
        """With CASE_seg.nii.gz in the current folder for a mask that is not named."""
        mask = mask or Path(f"{stem(image)}_seg.nii.gz")
        return cls(image=image, mask=mask, overlay=overlay, series=series, hu_offset=hu_offset)

    def check(self, *, overwrite: bool) -> None:
        """Raises InputError or OutputError where the run could not end well."""
        if not os.path.exists(self.image):  # unlike Path.exists, False for a name that is too long
            raise InputError("does not exist", where=self.image, remedy="Check the path.")
        require_writable_format(self.mask)
        if self.overlay is not None:
            require_png(self.overlay)
        for target in (self.mask, sidecar_path(self.mask), self.overlay):
            if target is not None:
                files.refuse_input(target, self.image)
                files.refuse_existing(target, overwrite=overwrite)
                files.require_writable(target)


@dataclass(frozen=True, kw_only=True)
class SegmentModels:
    """The checkpoints of a run, on its device."""

    reference: ReferenceModule
    propagation: Loaded | None  # None: the reference module on every slice


def load_models(
    reference: str, propagation: str | None, device: torch.device, *, challenge: bool = False, backend: str = "torch"
) -> SegmentModels:
    """The checkpoints of these names from the default registry; `backend` runs the reference module.

    `challenge` refuses those that a challenge's rules do not allow. Raises CheckpointError, and what
    `ReferenceModule` raises of the backend.
    """
    registry = Registry.default()
    loaded = registry.load(reference, kind="reference", challenge=challenge)
    return SegmentModels(
        reference=ReferenceModule(loaded, device=device, backend=backend),
        propagation=registry.load(propagation, kind="propagation", challenge=challenge) if propagation else None,
    )


def segment_file(
    case: SegmentFiles, models: SegmentModels, config: SegmentConfig, *, overwrite: bool = False
) -> tuple[Segmentation, dict[str, Any]]:
    """Segment a file and write the mask, its JSON and the overlay; the result and that JSON come back.

    Raises InputError, OutputError.
    """
    watch = Stopwatch()
    with watch.stage("read"):
        volume = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
    segmentation = segment(volume, models.reference, models.propagation, config)
    watch.seconds.update(segmentation.seconds)
    with watch.stage("write"):
        _write_mask(case, volume, segmentation, models, overwrite)
    if case.overlay is not None:
        with watch.stage("overlay"):
            labels = models.reference.labels
            draw_overlay(case.overlay, volume, segmentation.classes, labels, overwrite=overwrite)
    cards = {"reference": models.reference.card}
    if models.propagation is not None:
        cards["propagation"] = models.propagation.card
    segmentation = replace(segmentation, seconds=watch.seconds)
    report = sidecar(segmentation, volume, cards, config) | {"backend": models.reference.backend}
    files.write_json(sidecar_path(case.mask), report, overwrite=overwrite)
    return segmentation, report


def _write_mask(
    case: SegmentFiles, volume: Volume, segmentation: Segmentation, models: SegmentModels, overwrite: bool
) -> None:
    ids = models.reference.labels.to_ids(segmentation.classes)
    write_labels(case.mask, volume.like(ids), overwrite=overwrite)
