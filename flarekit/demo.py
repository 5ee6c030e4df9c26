"""The demo: a patient made up and painted, segmented with the starter weights, scored against the known truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flarekit.config.phantom import RECIPES
from flarekit.config.segment import OutputConfig
from flarekit.data.layouts import CaseFiles
from flarekit.errors import OutputError
from flarekit.evaluation import CaseScores, score_case
from flarekit.files import require_writable
from flarekit.labels import FLARE22
from flarekit.phantom import canonical_volume, paint, synthetic_anatomy
from flarekit.pipeline import Segmentation
from flarekit.pipeline.case import Recipe, segment_case
from flarekit.pipeline.models import ModelChoice
from flarekit.pipeline.outputs import OutputFiles
from flarekit.volumes import Volume, write_labels, write_volume

REFERENCE, PROPAGATION = "starter-reference", "starter-propagation"
SEED = 20_220_717  # no training set is painted with it
SPACING_MM = (4.0, 1.5, 1.5)  # z, h, w
SHAPE = (72, 240, 256)
CT, TRUTH, MASK = "ct.nii.gz", "truth.nii.gz", "mask.nii.gz"


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo did."""

    scores: CaseScores  # Dice of the mask against the truth
    segmentation: Segmentation
    files: tuple[str, ...]  # names of the files in the demo's folder
    seconds: dict[str, float]  # elapsed time of each stage, painting and loading included


def run_demo(folder: Path, device: torch.device, *, overwrite: bool = False) -> DemoResult:
    """Paint a case, segment it, and write CT, truth, mask and preview to the folder.

    Raises OutputError when the folder exists (without `overwrite`, which replaces the demo's own files and
    leaves others alone) or cannot be written, CheckpointError without starter weights.
    """
    if folder.exists() and not overwrite:
        raise OutputError("exists already", where=folder, remedy="Pass --overwrite or another folder with -o.")
    require_writable(folder / CT)
    start = time.perf_counter()
    recipe = Recipe.of(ModelChoice.of(REFERENCE, PROPAGATION, device), output=OutputConfig(preview=True, colours=False))
    models = recipe.models.load()
    loaded = time.perf_counter()
    image, truth = paint_patient()
    write_volume(folder / CT, image, overwrite=overwrite)
    write_labels(folder / TRUTH, truth.like(FLARE22.to_ids(truth.array)), overwrite=overwrite)
    painted = time.perf_counter()
    case = CaseFiles(name="demo", image=folder / CT)
    outputs = OutputFiles(mask=folder / MASK, labels=recipe.labels, config=recipe.output)
    done = segment_case(case, outputs, recipe, models, overwrite=overwrite)
    return DemoResult(
        scores=score_case("demo", done.segmentation.classes, truth.array, FLARE22.names),
        segmentation=done.segmentation,
        files=tuple(sorted(file.name for file in folder.iterdir())),
        seconds={"load": loaded - start, "paint": painted - loaded} | done.segmentation.seconds,
    )


def paint_patient() -> tuple[Volume, Volume]:
    """The demo's CT, int16 HU, and its truth, uint8 classes: always the same."""
    classes = synthetic_anatomy(SEED, SPACING_MM, SHAPE)
    image = paint(np.ascontiguousarray(classes), SPACING_MM, RECIPES["plain"], SEED)
    return canonical_volume(image, SPACING_MM), canonical_volume(classes, SPACING_MM)
