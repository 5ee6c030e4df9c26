"""Whether two volumes lie on the same grid."""

from __future__ import annotations

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.volume import Volume

GRID_TOLERANCE_VOXELS = 1e-2  # NIfTI keeps affines in float32: 1e-3 of a voxel is lost far from the origin


def require_same_grid(a: Volume, b: Volume) -> None:
    """Raises InputError when two volumes differ in shape, or voxels lie over 1/100 of a voxel apart."""
    names = f"{a.path or 'the first volume'} and {b.path or 'the second volume'}"
    if a.array.shape != b.array.shape:
        raise InputError(
            f"have different shapes (Z, H, W): {a.array.shape} and {b.array.shape}",
            where=names,
            remedy="Check that they belong to the same case, or resample one to the other.",
        )
    apart_mm = gap_mm(a, b)
    if apart_mm > GRID_TOLERANCE_VOXELS * min(a.spacing_mm):
        raise InputError(
            f"lie on different grids: voxels are up to {apart_mm:.3g} mm apart",
            where=names,
            remedy="Check that they belong to the same case, or resample one to the other.",
        )


def gap_mm(a: Volume, b: Volume) -> float:
    """How far apart the same voxel of two volumes of one shape (Z, H, W) lies at most, mm."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(a.array.shape) - 1)
    homogeneous = np.concatenate([corners, np.ones((8, 1))], axis=1)
    return float(np.linalg.norm(homogeneous @ (a.affine - b.affine).T, axis=1).max())
