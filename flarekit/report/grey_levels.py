"""HU in one byte a voxel, for a viewer in which windows can still be changed.

Soft tissue, where organs differ by a few HU, gets most of the levels: 2.7 HU a level there, some twenty in lung
and bone. Windows of every kind are cut from these levels by the viewer.
"""

from __future__ import annotations

import numpy as np

KNOTS_HU = (-1350, -160, 240, 1300)  # the paper's windows lie between the first and the last
KNOTS_LEVEL = (0, 60, 210, 255)
SHOWN_HU = (KNOTS_HU[0], KNOTS_HU[-1])  # all that is below or above looks the same


def to_levels(hu: np.ndarray) -> np.ndarray:
    """uint8 levels of HU of any shape; values beyond the first and last knot are clipped."""
    return np.rint(np.interp(hu, KNOTS_HU, KNOTS_LEVEL)).astype(np.uint8)


def hu_of_levels() -> list[int]:
    """The HU that each of the 256 levels stands for."""
    return [int(hu) for hu in np.rint(np.interp(np.arange(256), KNOTS_LEVEL, KNOTS_HU))]
