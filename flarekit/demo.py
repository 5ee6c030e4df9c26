"""The demo: a patient made up and painted, segmented with the starter weights, scored against the known truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flarekit.config.phantom import RECIPES
from flarekit.config.segment import SegmentConfig
from flarekit.errors import OutputError
from flarekit.evaluation import CaseScores, score_case
from flarekit.files import require_writable
from flarekit.labels import FLARE22
from flarekit.phantom import canonical_volume, paint, synthetic_anatomy
from flarekit.pipeline import Segmentation
from flarekit.pipeline.files import SegmentFiles, load_models, segment_file
from flarekit.volumes import Volume, write_labels, write_volume

REFERENCE, PROPAGATION = "starter-reference", "starter-propagation"
SEED = 20_220_717  # no training set is painted with it
SPACING_MM = (4.0, 1.5, 1.5)  # z, h, w
SHAPE = (72, 240, 256)
CT, TRUTH, MASK, OVERLAY = "ct.nii.gz", "truth.nii.gz", "mask.nii.gz", "overlay.png"


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo did."""

    scores: CaseScores  # Dice of the mask against the truth
    segmentation: Segmentation
    files: tuple[str, ...]  # names of the files in the demo's folder
    seconds: dict[str, float]  # elapsed time of each stage, painting and loading included


def run_demo(folder: Path, device: torch.device, *, overwrite: bool = False) -> DemoResult:
    """Paint a case, segment it, and write CT, truth, mask and overlay to the folder.

    Raises OutputError when the folder exists (without `overwrite`, which replaces the demo's own files and
    leaves others alone) or cannot be written, CheckpointError without starter weights.
    """
    if folder.exists() and not overwrite:
        raise OutputError("exists already", where=folder, remedy="Pass --overwrite or another folder with -o.")
    require_writable(folder / CT)
    start = time.perf_counter()
    models = load_models(REFERENCE, PROPAGATION, device)
    loaded = time.perf_counter()
    image, truth = paint_patient()
    write_volume(folder / CT, image, overwrite=overwrite)
    write_labels(folder / TRUTH, truth.like(FLARE22.to_ids(truth.array)), overwrite=overwrite)
    painted = time.perf_counter()
    case = SegmentFiles(image=folder / CT, mask=folder / MASK, overlay=folder / OVERLAY)
    segmentation, _ = segment_file(case, models, SegmentConfig(), overwrite=overwrite)
    return DemoResult(
        scores=score_case("demo", segmentation.classes, truth.array, FLARE22.names),
        segmentation=segmentation,
        files=tuple(sorted(file.name for file in folder.iterdir())),
        seconds={"load": loaded - start, "paint": painted - loaded} | segmentation.seconds,
    )


def paint_patient() -> tuple[Volume, Volume]:
    """The demo's CT, int16 HU, and its truth, uint8 classes: always the same."""
    classes = synthetic_anatomy(SEED, SPACING_MM, SHAPE)
    image = paint(np.ascontiguousarray(classes), SPACING_MM, RECIPES["plain"], SEED)
    return canonical_volume(image, SPACING_MM), canonical_volume(classes, SPACING_MM)
