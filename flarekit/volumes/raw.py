"""Voxels as a file stores them, before they are turned, scaled or checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flarekit.volumes.dicom.origin import Origin


@dataclass(frozen=True, kw_only=True)
class RawVolume:
    """What every file format is read into."""

    array: np.ndarray  # (I, J, K) in the file's own axes and data type, possibly a read-only view
    affine: np.ndarray  # (4, 4) float64, voxel (i, j, k, 1) to RAS+ mm
    slope: float = 1.0  # a voxel's value is array * slope + intercept
    intercept: float = 0.0
    stored_shape: tuple[int, ...] | None = None  # as the file says it, where `array` left axes of length 1 out
    origin: Origin | None = None  # of a CT in DICOM

    @property
    def is_scaled(self) -> bool:
        """Whether values differ from what is stored."""
        return (self.slope, self.intercept) != (1.0, 0.0)
