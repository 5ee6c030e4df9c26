"""A label map that goes on into the chest, as scans of chest and abdomen do: what has labels there, and its course."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage

from flarekit.config.phantom import ChestRecipe
from flarekit.phantom.grid import Grid
from flarekit.phantom.noise import smooth_curve

_GO_ON = ("esophagus", "aorta")  # where they meet, the last one is seen
_BEND_MM = 60.0  # about as far apart as their courses bend


def go_on_above(
    labels: np.ndarray, grid: Grid, classes: Mapping[str, int], recipe: ChestRecipe, rng: np.random.Generator
) -> tuple[np.ndarray, Grid]:
    """The label map (Z,H,W) with slices above its last one, or as it is, by chance (`classes` by organ name).

    Aorta and esophagus go on there in the shape that the last slice shows, along courses that bend a little; one
    that the last slice does not show has none.
    """
    if rng.random() >= recipe.share:
        return labels, grid
    slices = max(round(rng.uniform(*recipe.above_mm) / grid.spacing_mm[0]), 1)
    above = np.zeros((slices, *labels.shape[1:]), dtype=labels.dtype)
    for name in _GO_ON:
        mask = labels[-1] == classes.get(name, -1)
        for plane, moved in zip(above, _courses(mask, grid, slices, recipe.bend_mm, rng), strict=True):
            plane[moved] = classes.get(name, 0)
    extended = np.concatenate([labels, above])
    return extended, replace(grid, shape=extended.shape)


def _courses(mask: np.ndarray, grid: Grid, slices: int, bend_mm: float, rng: np.random.Generator) -> list[np.ndarray]:
    """The mask (H,W) on so many slices above its own."""
    knots = max(round(slices * grid.spacing_mm[0] / _BEND_MM), 1) + 1
    curves = np.stack([smooth_curve(slices + 1, knots, rng) for _ in range(2)], axis=1)
    pixels = bend_mm * (curves - curves[0])[1:] / grid.spacing_mm[1:]
    return [ndimage.shift(mask.astype(np.uint8), step, order=0) > 0 for step in np.round(pixels)]
