"""Volumes that are two files: a header, and its voxels in a file beside it."""

from __future__ import annotations

from pathlib import Path

from flarekit.volumes import metaimage, nrrd
from flarekit.volumes.formats import METAIMAGE_SUFFIXES, NRRD_SUFFIXES

_VOXEL_FILES = {METAIMAGE_SUFFIXES: metaimage.voxel_file, NRRD_SUFFIXES: nrrd.voxel_file}


def files_of(path: Path) -> tuple[Path, ...]:
    """All files of a volume, the one that names it first. Raises InputError when its header cannot be read."""
    if path.is_file():
        for suffixes, voxel_file in _VOXEL_FILES.items():
            if path.name.lower().endswith(suffixes) and (voxels := voxel_file(path)) != path:
                return path, voxels
    return (path,)
