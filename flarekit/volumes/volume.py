"""A volume in the one orientation slices are cut in, and the way back to the file's own axes.

Canonical arrays are (Z, H, W): z grows towards the head, rows from front to back, columns from the
patient's right to left, as radiologists look at an axial slice (axis codes L, P, S of (W, H, Z)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flarekit.volumes.orientation import Reorientation

if TYPE_CHECKING:
    from flarekit.volumes.dicom.origin import Origin


@dataclass(frozen=True, kw_only=True)
class SourceGrid:
    """The grid of the file a volume came from."""

    shape: tuple[int, int, int]  # voxels along the file's axes i, j, k
    affine: np.ndarray  # (4, 4) float64, voxel (i, j, k, 1) to RAS+ mm
    reorientation: Reorientation  # from the file's axes to canonical ones


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels on the canonical axial grid. Raises ValueError when the array does not fit the grid."""

    array: np.ndarray  # (Z, H, W)
    source: SourceGrid
    path: Path | None = None  # the file it was read from, for messages
    hu_offset: int = 0  # what was taken off the file's values to make them HU
    origin: Origin | None = None  # the DICOM slices it was read from

    def __post_init__(self) -> None:
        expected = self.source.reorientation.canonical_shape(self.source.shape)
        if self.array.shape != expected:
            raise ValueError(f"the grid has shape {expected}, got an array of shape {self.array.shape}")

    @classmethod
    def from_source(cls, array: np.ndarray, affine: np.ndarray, *, path: Path | None = None) -> Volume:
        """A volume from an array (I, J, K) in a file's own axes and its affine to RAS+ mm (a view where possible).

        Raises ValueError when the array is not three-dimensional or the affine is singular.
        """
        if array.ndim != 3:
            raise ValueError(f"a volume has three axes, got shape {array.shape}")
        affine = np.asarray(affine, dtype=np.float64)
        reorientation = Reorientation.from_affine(affine)
        grid = SourceGrid(shape=array.shape, affine=affine, reorientation=reorientation)
        return cls(array=reorientation.to_canonical(array), source=grid, path=path)

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) float64: canonical index (z, h, w, 1) to RAS+ mm."""
        return self.source.affine @ self.source.reorientation.index_map(self.source.shape)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (z, h, w), mm."""
        z, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(h), float(w)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres, also for oblique grids."""
        return float(abs(np.linalg.det(self.source.affine[:3, :3]))) / 1000.0

    def z_mm(self, z: int) -> float:
        """Position of slice z's centre along the patient's axis (superior is positive), mm."""
        _, h, w = self.array.shape
        return float((self.affine @ (z, (h - 1) / 2, (w - 1) / 2, 1.0))[2])

    def like(self, array: np.ndarray) -> Volume:
        """Another canonical array (Z, H, W) on the same grid. Raises ValueError on another shape."""
        return replace(self, array=array)

    def to_source_axes(self) -> np.ndarray:
        """The array (I, J, K) in the file's own axes, a view."""
        return self.source.reorientation.to_source(self.array)
