"""From a file's voxel axes to canonical axial ones (z up, rows to the back, columns to the left), and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

# Canonical axes (z, h, w) as directions in RAS+ mm: superior, posterior, left.
_DIRECTIONS = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_FLAT = 1e-6  # volume of a voxel of unit sides below which its axes lie in one plane


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of voxel axes: nothing is interpolated, so the way back is exact."""

    axes: tuple[int, int, int]  # the file's axis that becomes canonical axis z, h, w
    flips: tuple[bool, bool, bool]  # whether canonical axis z, h, w runs against it

    @classmethod
    def from_affine(cls, affine: np.ndarray) -> Reorientation:
        """The reorientation that turns a grid closest to canonical; oblique grids stay oblique.

        `affine` (4, 4) maps voxel (i, j, k, 1) to RAS+ mm. Raises ValueError when it is singular or not finite.
        """
        with np.errstate(over="ignore"):
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if not (np.isfinite(affine).all() and np.isfinite(spacing).all()) or spacing.min() == 0:
            raise ValueError("the affine is singular or not finite")
        directions = affine[:3, :3] / spacing
        if abs(np.linalg.det(directions)) < _FLAT:
            raise ValueError("the affine is singular or not finite")
        cosines = _DIRECTIONS @ directions
        best = max(permutations(range(3)), key=lambda axes: _alignment(cosines, axes))
        flips = tuple(bool(cosines[row, axis] < 0) for row, axis in enumerate(best))
        return cls(axes=best, flips=flips)  # type: ignore[arg-type]

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """A view (Z, H, W) of an array (I, J, K)."""
        return np.flip(array.transpose(self.axes), axis=self._flipped)

    def to_source(self, array: np.ndarray) -> np.ndarray:
        """A view (I, J, K) of an array (Z, H, W): the exact inverse of `to_canonical`."""
        return np.flip(array, axis=self._flipped).transpose(np.argsort(self.axes))

    def canonical_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (Z, H, W) of an array of shape (I, J, K)."""
        return tuple(shape[axis] for axis in self.axes)

    def index_map(self, shape: tuple[int, int, int]) -> np.ndarray:
        """(4, 4) float64: canonical index (z, h, w, 1) to the file's index (i, j, k, 1), for its shape."""
        matrix = np.eye(4)
        matrix[:3, :3] = 0.0
        for row, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            matrix[axis, row] = -1.0 if flip else 1.0
            matrix[axis, 3] = shape[axis] - 1 if flip else 0
        return matrix

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(row for row, flip in enumerate(self.flips) if flip)


def _alignment(cosines: np.ndarray, axes: tuple[int, ...]) -> float:
    return sum(abs(cosines[row, axis]) for row, axis in enumerate(axes))
