"""Smooth random fields."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from flarekit.phantom.grid import Grid, upsample


def smooth_noise(grid: Grid, scale_mm: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (Z,H,W) of mean 0 and standard deviation about 1 that changes over `scale_mm`."""
    return upsample(coarse_noise(grid.coarse(scale_mm / 1.5), rng), grid.shape)


def coarse_noise(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """float32 on `grid`: white noise smoothed over one voxel, standard deviation 1 (0 for a single voxel)."""
    field = ndimage.gaussian_filter(rng.standard_normal(grid.shape, dtype=np.float32), 0.8, mode="nearest")
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def smooth_curve(length: int, knots: int, rng: np.random.Generator) -> np.ndarray:
    """float64 (length,): a random smooth line with values of about -1..1."""
    values = rng.uniform(-1, 1, max(knots, 2))
    line = np.interp(np.linspace(0, len(values) - 1, length), np.arange(len(values)), values)
    return ndimage.gaussian_filter1d(line, length / (2 * len(values)), mode="nearest")


def smooth_circle(bins: int, harmonics: int, rng: np.random.Generator) -> np.ndarray:
    """float64 (bins,): a random smooth function of an angle, of about -1..1, the same at both ends."""
    angle = np.arange(bins) * 2 * np.pi / bins
    waves = [rng.normal() / n * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in range(1, harmonics + 1)]
    return np.sum(waves, axis=0) / harmonics**0.5
