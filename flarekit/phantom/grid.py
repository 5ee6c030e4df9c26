"""The voxel grid a painting lives on, in canonical axes, and a coarser one over the same body for slow fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Axes (Z, H, W) of so many voxels so far apart; positions are (z, y, x) in mm from voxel 0."""

    shape: tuple[int, int, int]  # voxels
    spacing_mm: tuple[float, float, float]  # between their centres

    @property
    def extent_mm(self) -> np.ndarray:
        """float64 (3,): from the first voxel's centre to the last one's."""
        return (np.array(self.shape) - 1) * np.array(self.spacing_mm)

    def axes_mm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """float32 (Z,1,1), (1,H,1) and (1,1,W): positions along each axis, ready to broadcast."""
        z, y, x = (np.arange(n, dtype=np.float32) * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def coarse(self, step_mm: float) -> Grid:
        """A grid with the same first and last voxels, about `step_mm` apart (never finer than this one)."""
        counts = np.minimum(np.round(self.extent_mm / step_mm) + 1, self.shape)
        counts = np.maximum(counts, np.minimum(self.shape, 2)).astype(int)
        spacing = np.where(counts > 1, self.extent_mm / np.maximum(counts - 1, 1), self.spacing_mm)
        return Grid(shape=tuple(counts.tolist()), spacing_mm=tuple(spacing.tolist()))

    def subsample(self, array: np.ndarray, coarse: Grid) -> np.ndarray:
        """The nearest voxels of an array on this grid, at the voxels of `coarse`."""
        picks = [np.round(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(self.shape, coarse.shape, strict=True)]
        return array[np.ix_(*picks)]

    def voxels(self, positions_mm: np.ndarray) -> np.ndarray:
        """int (N, 3): the nearest voxels of (N, 3) positions, clipped to the grid."""
        index = np.round(positions_mm / np.array(self.spacing_mm)).astype(int)
        return np.clip(index, 0, np.array(self.shape) - 1)


def upsample(coarse: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """float32 of `shape`: trilinear interpolation between voxels whose first and last ones coincide."""
    tensor = torch.from_numpy(np.ascontiguousarray(coarse, dtype=np.float32))[None, None]
    return F.interpolate(tensor, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()


def upsample_nearest(coarse: np.ndarray, grid: Grid) -> np.ndarray:
    """The nearest coarse voxel's value at every voxel of `grid`, dtype kept."""
    picks = [np.round(np.linspace(0, m - 1, n)).astype(int) for n, m in zip(grid.shape, coarse.shape, strict=True)]
    return coarse[np.ix_(*picks)]
