"""Normalised surface Dice (Nikolov et al. 2018, arXiv:1809.04430): the share of two surfaces within a tolerance.

The geometry is DeepMind's surface-distance: its neighbourhood codes, and its table of the surface that each of them
holds. The distances are taken here, as that package's own function calls what NumPy 2 and SciPy 2 have dropped and
sorts every surface element in Python; `tests/test_evaluation_surface.py` holds the two side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt
from surface_distance.lookup_tables import (
    ENCODE_NEIGHBOURHOOD_3D_KERNEL,
    create_table_neighbour_code_to_surface_area,
)

_INSIDE = 255  # the code of eight neighbours that all belong to the mask


def surface_dice(
    predicted: np.ndarray,
    true: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    known: np.ndarray | None = None,
) -> float:
    """The share, 0..1, of both surfaces that lies within the tolerance of the other one.

    Two bool masks (A, B, C) with their spacing along these axes; their borders count as outside, so that a crop to the
    masks' boxes changes nothing. Surface that touches a voxel that is not `known` does not count. Two empty masks
    score 1, one empty one 0, as does surface of which nothing is known. Raises ValueError when shapes differ.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"shapes differ: {predicted.shape} and {true.shape}")
    if not (predicted.any() and true.any()):
        return float(predicted.any() == true.any())
    codes = _codes(predicted), _codes(true)
    surfaces = [(code != 0) & (code != _INSIDE) for code in codes]
    area_mm2 = create_table_neighbour_code_to_surface_area(spacing_mm)
    counted = True if known is None else _codes(~known) == 0
    within = total = 0.0
    for code, surface, other in zip(codes, surfaces, reversed(surfaces), strict=True):
        elements = np.nonzero(surface & counted)
        areas = area_mm2[code[elements]]
        total += areas.sum()
        within += areas[_distances(elements, other, spacing_mm) <= tolerance_mm].sum()
    return float(within / total) if total else 0.0


def _distances(elements: tuple[np.ndarray, ...], surface: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """(N,) mm from each of the elements, given by their indices, to the nearest one of the surface.

    As `distance_transform_edt` works them out, to the last bit, but not for the whole volume.
    """
    nearest = distance_transform_edt(~surface, sampling=spacing_mm, return_distances=False, return_indices=True)
    apart = (nearest[(slice(None), *elements)] - np.stack(elements)).astype(np.float64)
    apart *= np.asarray(spacing_mm, dtype=np.float64)[:, None]
    return np.sqrt(np.add.reduce(apart * apart, axis=0))


def _codes(mask: np.ndarray) -> np.ndarray:
    """uint8 (A + 1, B + 1, C + 1): which of the eight voxels around each corner of the grid belong to the mask."""
    a, b, c = (length + 1 for length in mask.shape)
    padded = np.pad(mask, 1)
    codes = np.zeros((a, b, c), dtype=np.uint8)
    for (i, j, k), bit in np.ndenumerate(ENCODE_NEIGHBOURHOOD_3D_KERNEL):
        codes += padded[i : i + a, j : j + b, k : k + c] * np.uint8(bit)
    return codes
