"""Lesions inside organs: cysts and masses. They belong to their organ, as annotators draw them."""

from __future__ import annotations

import numpy as np

from flarekit.config.phantom import TissueRecipe
from flarekit.phantom.grid import Grid
from flarekit.phantom.lesion_kinds import SHARES, lesion_hu
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.tissues import Palette, Tissue


def add_lesions(
    hu: np.ndarray, organs: np.ndarray, grid: Grid, palette: Palette, recipe: TissueRecipe, rng: np.random.Generator
) -> None:
    """Add lesions to an image (Z,H,W) float32 HU, each inside one organ of organs (Tissue ids)."""
    for organ, share in SHARES.items():
        count = int(rng.poisson(recipe.lesions * share))
        if count == 0:
            continue
        voxels = np.flatnonzero(organs == organ)
        for _ in range(count if len(voxels) else 0):
            middle = np.array(np.unravel_index(voxels[rng.integers(len(voxels))], organs.shape))
            _add_lesion(hu, organs, grid, organ, middle, lesion_hu(palette.mean_hu[organ], rng), rng)


def _add_lesion(
    hu: np.ndarray, organs: np.ndarray, grid: Grid, organ: Tissue, middle: np.ndarray, value_hu: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    radius_mm = np.clip(rng.lognormal(2.0, 0.6), 2.5, 35) * rng.uniform(0.75, 1.25, 3)
    reach = np.ceil(1.5 * radius_mm / np.array(grid.spacing_mm)).astype(int)
    box = tuple(slice(max(m - r, 0), m + r + 1) for m, r in zip(middle, reach, strict=True))
    inside = organs[box] == organ
    part = Grid(shape=inside.shape, spacing_mm=grid.spacing_mm)
    z, y, x = part.axes_mm()
    start = (middle - [s.start for s in box]) * np.array(grid.spacing_mm)
    away = np.sqrt(
        ((z - start[0]) / radius_mm[0]) ** 2
        + ((y - start[1]) / radius_mm[1]) ** 2
        + ((x - start[2]) / radius_mm[2]) ** 2
    )
    away = away + 0.15 * smooth_noise(part, max(float(radius_mm.mean()), 3.0), rng)
    lesion = inside & (away < 1)
    hu[box][lesion] += value_hu - float(hu[box][lesion].mean()) if lesion.any() else 0
    if rng.random() < 0.3:
        hu[box][lesion & (away > 0.75)] += rng.uniform(10, 50)
