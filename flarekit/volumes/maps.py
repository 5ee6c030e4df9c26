"""Maps of a number in 0..1 at every voxel, such as an uncertainty, in a byte a voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flarekit.errors import OutputError
from flarekit.files import atomic_path
from flarekit.volumes.formats import NIFTI_SUFFIXES
from flarekit.volumes.nifti import write_nifti
from flarekit.volumes.volume import Volume

STEPS = 255  # a byte's largest number stands for 1


def write_map(path: Path, volume: Volume, *, overwrite: bool = False) -> None:
    """Write a map on its source's grid as .nii or .nii.gz: uint8 with NIfTI's scaling of 1/255, which viewers apply.

    `volume.array` (Z, H, W) is float in 0..1, or uint8 in steps of 1/255 as `in_steps` makes them slice by slice.
    The file appears whole or not at all. Raises OutputError when it exists (without `overwrite`), its name has
    another ending, or it cannot be written; ValueError for numbers outside 0..1.
    """
    require_map_format(path)
    steps = volume.array
    if steps.dtype != np.uint8:
        steps = np.empty(volume.array.shape, dtype=np.uint8)
        for z, plane in enumerate(volume.array):
            steps[z] = in_steps(plane)
    with atomic_path(path, overwrite=overwrite) as temporary:
        write_nifti(temporary, volume.like(steps).to_source_axes(), volume.source.affine, slope=1.0 / STEPS)


def in_steps(values: np.ndarray) -> np.ndarray:
    """uint8 of the same shape: numbers in 0..1 in steps of 1/255, rounded. Raises ValueError for others and NaN."""
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"a map holds numbers in 0..1, got {values.min()} to {values.max()}")
    return np.rint(values * STEPS).astype(np.uint8)


def require_map_format(path: Path) -> None:
    """Raises OutputError when the name's ending is none a map is written with: to be called before long work."""
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise OutputError(
            "has an ending that a map is not written with",
            where=path,
            remedy=f"Use {' or '.join(reversed(NIFTI_SUFFIXES))}: other formats do not keep its scaling.",
        )
