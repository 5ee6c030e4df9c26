"""Normalised surface Dice: worked by hand, and beside the package it takes its geometry from."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import surface_distance

from flarekit.evaluation.surface import surface_dice

SPACING_MM = (0.5, 1.5, 4.0)


def blob(seed: int) -> np.ndarray:
    """(9, 11, 7) bool: random voxels that hang together."""
    voxels = np.random.default_rng(seed).random((9, 11, 7))
    return (voxels + np.roll(voxels, 1, 0) + np.roll(voxels, 1, 1)) > 1.6


def with_package(predicted: np.ndarray, true: np.ndarray, tolerance_mm: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it calls SciPy's old names
        distances = surface_distance.compute_surface_distances(true, predicted, SPACING_MM)
    return float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm))


@pytest.mark.parametrize("tolerance_mm", [0.0, 1.0, 1.5, 4.0])
def test_it_is_what_the_package_gives(tolerance_mm: float) -> None:
    predicted, true = blob(0), blob(1)
    mine = surface_dice(predicted, true, spacing_mm=SPACING_MM, tolerance_mm=tolerance_mm)
    assert mine == pytest.approx(with_package(predicted, true, tolerance_mm), abs=1e-12)
    assert tolerance_mm > 1.5 or mine < 1


def test_a_voxel_beside_a_voxel_is_within_the_tolerance_of_their_distance() -> None:
    # Every corner of one voxel is a step of 4 mm from a corner of the other, or shared with it.
    predicted, true = np.zeros((3, 3, 3), dtype=bool), np.zeros((3, 3, 3), dtype=bool)
    predicted[1, 1, 0] = true[1, 1, 1] = True
    score = [surface_dice(predicted, true, spacing_mm=SPACING_MM, tolerance_mm=mm) for mm in (3.9, 4.0)]
    assert score == [0.5, 1.0]


def test_nothing_is_right_about_nothing_and_wrong_about_something() -> None:
    nothing, something = np.zeros((2, 3, 4), dtype=bool), np.ones((2, 3, 4), dtype=bool)
    assert surface_dice(nothing, nothing, spacing_mm=SPACING_MM, tolerance_mm=1) == 1
    assert surface_dice(nothing, something, spacing_mm=SPACING_MM, tolerance_mm=1) == 0
    assert surface_dice(something, nothing, spacing_mm=SPACING_MM, tolerance_mm=1) == 0


def test_surface_beside_unknown_voxels_does_not_count() -> None:
    true = np.zeros((6, 7, 8), dtype=bool)
    true[1:4, 1:5, 1:6] = True
    predicted, known = true.copy(), np.ones_like(true)
    predicted[1:4, 1:5, 5] = False
    known[:, :, 4:] = False
    assert surface_dice(predicted, true, spacing_mm=SPACING_MM, tolerance_mm=1) < 1
    assert surface_dice(predicted & known, true & known, spacing_mm=SPACING_MM, tolerance_mm=1, known=known) == 1


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        surface_dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool), spacing_mm=SPACING_MM, tolerance_mm=1)
