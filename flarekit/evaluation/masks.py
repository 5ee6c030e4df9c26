"""Dice and normalised surface Dice of a case's organs, by FLARE22's rules.

An organ absent from both masks scores 1, from one of them 0. The aorta, the inferior vena cava and the esophagus,
whose ends a label map cuts off anywhere, are scored on the slices from their first labelled one to their last.

FLARE22's own script (FLARE22_DSC_NSD_Eval.py of the organisers' repository) differs, and `official` rules follow it:
that last slice is left out, NSD is 0 where Dice lies below 0.2, slices are those of the third axis of the truth's
file, and the spacing is that header's, as float32. Where a tubular organ is labelled on one slice alone that script
stops with an error; here it is scored on that slice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from flarekit.evaluation.dice import CaseScores
from flarekit.evaluation.rules import OFFICIAL_LEAST_DICE, ScoringRules
from flarekit.evaluation.surface import surface_dice
from flarekit.labels import IGNORE
from flarekit.volumes import Volume

Box = tuple[slice, ...]


def score_volumes(case: str, predicted: Volume, true: Volume, organs: Sequence[str], rules: ScoringRules) -> CaseScores:
    """The scores of a case from two volumes of classes on one grid; `organs` are the names in class order.

    Voxels whose true class is IGNORE do not count. NSD is left out for organs without a tolerance.
    """
    if rules.official:
        arrays = true.like(predicted.array).to_source_axes(), true.to_source_axes()  # however a prediction is stored
        return score_arrays(case, *arrays, organs, spacing_mm=header_spacing_mm(true), axial=2, rules=rules)
    return score_arrays(case, predicted.array, true.array, organs, spacing_mm=true.spacing_mm, axial=0, rules=rules)


def score_arrays(
    case: str,
    predicted: np.ndarray,
    true: np.ndarray,
    organs: Sequence[str],
    *,
    spacing_mm: Sequence[float],
    axial: int,
    rules: ScoringRules,
) -> CaseScores:
    """`score_volumes` on arrays of classes (A, B, C), whose axis `axial` runs along the patient."""
    dice: dict[str, float] = {}
    nsd: dict[str, float] = {}
    absent = set()
    boxes = zip(_boxes(predicted, len(organs)), _boxes(true, len(organs)), strict=True)
    for number, (organ, (predicted_box, true_box)) in enumerate(zip(organs, boxes, strict=True), start=1):
        box = _scored_box(predicted_box, true_box, axial if organ in rules.ends_given else None, rules)
        known = true[box] != IGNORE
        masks = (predicted[box] == number) & known, true[box] == number
        dice[organ] = mask_dice(*masks)
        if true_box is None:
            absent.add(organ)
        if organ not in rules.tolerance_mm:
            continue
        if rules.official and dice[organ] < OFFICIAL_LEAST_DICE:
            nsd[organ] = 0.0
        else:
            tolerance_mm = rules.tolerance_mm[organ]
            nsd[organ] = surface_dice(*masks, spacing_mm=spacing_mm, tolerance_mm=tolerance_mm, known=known)
    return CaseScores(case=case, dice=dice, nsd=nsd, absent=frozenset(absent))


def mask_dice(predicted: np.ndarray, true: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 1 where both are empty."""
    voxels = np.count_nonzero(predicted) + np.count_nonzero(true)
    return 2 * np.count_nonzero(predicted & true) / voxels if voxels else 1.0


def header_spacing_mm(volume: Volume) -> tuple[float, ...]:
    """The spacing along the file's own axes, rounded to the float32 that a NIfTI header holds it in."""
    return tuple(np.linalg.norm(volume.source.affine[:3, :3], axis=0).astype(np.float32).tolist())


def _boxes(classes: np.ndarray, organs: int) -> list[Box | None]:
    """The box of every organ, None where it is absent."""
    found = find_objects(classes, max_label=organs)
    return found + [None] * (organs - len(found))


def _scored_box(predicted: Box | None, true: Box | None, axial: int | None, rules: ScoringRules) -> Box:
    """The box around both masks, along `axial` that of the true one alone."""
    given = [box for box in (predicted, true) if box is not None]
    if not given:
        return (slice(0, 0),) * 3
    sides = [slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*given, strict=True)]
    if axial is not None and true is not None:
        first, stop = true[axial].start, true[axial].stop
        sides[axial] = slice(first, max(first + 1, stop - 1) if rules.official else stop)
    return tuple(sides)
