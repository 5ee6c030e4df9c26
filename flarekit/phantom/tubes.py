"""Tubes along curves: what bowel, vessels and drawn organs are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from flarekit.phantom.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points along a tube and its radius at each of them."""

    points_mm: np.ndarray  # (N, 3) z, y, x
    radius_mm: np.ndarray  # (N,)


def smooth_curve_through(knots_mm: np.ndarray, radii_mm: np.ndarray | float, step_mm: float = 2.0) -> Curve:
    """A smooth curve through (K, 3) knots with points `step_mm` apart; radii are given at the knots or once."""
    lengths = np.linalg.norm(np.diff(knots_mm, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1e-3))])
    count = max(int(along[-1] / step_mm) + 1, 2)
    samples = np.linspace(0, along[-1], count)
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=float), (len(knots_mm),))
    spline = CubicSpline(along, knots_mm) if len(knots_mm) > 2 else lambda s: _line(along, knots_mm, s)
    return Curve(points_mm=spline(samples), radius_mm=np.interp(samples, along, radii))


def stamp(mask: np.ndarray, grid: Grid, curve: Curve) -> None:
    """Set the voxels of a bool (Z,H,W) that lie inside the tube."""
    spacing = np.array(grid.spacing_mm)
    reach = np.ceil(curve.radius_mm.max() / spacing).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    centres = np.round(curve.points_mm / spacing).astype(int)
    for start in range(0, len(centres), 256):
        part = slice(start, start + 256)
        voxels = centres[part, None] + offsets[None]
        away = np.linalg.norm(voxels * spacing - curve.points_mm[part, None], axis=-1)
        hit = (away <= curve.radius_mm[part, None]) & (voxels >= 0).all(-1) & (voxels < grid.shape).all(-1)
        mask[tuple(voxels[hit].T)] = True


def _line(along: np.ndarray, knots: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(samples, along, knots[:, i]) for i in range(3)], axis=1)
