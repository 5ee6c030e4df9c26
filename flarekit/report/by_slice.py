"""What is known of each organ, slice by slice."""

from __future__ import annotations

import numpy as np


def areas_px(classes: np.ndarray, organs: int) -> np.ndarray:
    """int64 (organs, Z): voxels of each of the classes 1..organs on every slice of classes (Z, H, W)."""
    counts = [np.bincount(plane.ravel(), minlength=256)[1 : organs + 1] for plane in classes]
    return np.array(counts, dtype=np.int64).T


def means(values: np.ndarray, classes: np.ndarray, organs: int) -> np.ndarray:
    """float64 (organs, Z): the mean of values (Z, H, W) over each organ's voxels on a slice, NaN where it has none."""
    result = np.full((organs, len(classes)), np.nan)
    for z, (plane, weights) in enumerate(zip(classes, values, strict=True)):
        counts = np.bincount(plane.ravel(), minlength=256)[1 : organs + 1]
        sums = np.bincount(plane.ravel(), weights=weights.ravel(), minlength=256)[1 : organs + 1]
        np.divide(sums, counts, out=result[:, z], where=counts > 0)
    return result
