"""Tubes along curves: what bowel, vessels and drawn organs are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from flarekit.phantom.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points along a tube and its radius at each of them."""

    points_mm: np.ndarray  # (N, 3) z, y, x
    radius_mm: np.ndarray  # (N,)


def smooth_curve_through(
    knots_mm: np.ndarray, radii_mm: np.ndarray | Sequence[float] | float, step_mm: float = 2.0
) -> Curve:
    """A smooth curve through (K, 3) knots with points `step_mm` apart; radii are given at the knots or once."""
    lengths = np.linalg.norm(np.diff(knots_mm, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1e-3))])
    count = max(int(along[-1] / step_mm) + 1, 2)
    samples = np.linspace(0, along[-1], count)
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=float), (len(knots_mm),))
    spline = CubicSpline(along, knots_mm) if len(knots_mm) > 2 else lambda s: _line(along, knots_mm, s)
    return Curve(points_mm=spline(samples), radius_mm=np.interp(samples, along, radii))


def stamp(mask: np.ndarray, grid: Grid, curve: Curve) -> None:
    """Set the voxels of a bool (Z,H,W) that lie inside the tube: the union of balls around its points."""
    spacing, shape = np.array(grid.spacing_mm), np.array(grid.shape)
    axes = [np.arange(n) * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    low = np.ceil((curve.points_mm - curve.radius_mm[:, None]) / spacing).astype(int)
    high = np.floor((curve.points_mm + curve.radius_mm[:, None]) / spacing).astype(int) + 1
    low, high = np.clip(low, 0, shape).tolist(), np.clip(high, 0, shape).tolist()
    for point, radius, (z0, y0, x0), (z1, y1, x1) in zip(curve.points_mm, curve.radius_mm, low, high, strict=True):
        z, y, x = ((axes[i][s] - point[i]) ** 2 for i, s in enumerate((slice(z0, z1), slice(y0, y1), slice(x0, x1))))
        mask[z0:z1, y0:y1, x0:x1] |= z[:, None, None] + (y[:, None] + x) <= radius**2


def _line(along: np.ndarray, knots: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(samples, along, knots[:, i]) for i in range(3)], axis=1)
