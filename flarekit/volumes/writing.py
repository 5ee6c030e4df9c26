"""Writes volumes and label maps on the exact grid of the file they came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flarekit.errors import OutputError
from flarekit.files import atomic_path
from flarekit.volumes.formats import NIFTI_SUFFIXES, stem
from flarekit.volumes.itk import write_itk
from flarekit.volumes.naming import NamedLabel
from flarekit.volumes.nifti import write_nifti
from flarekit.volumes.volume import Volume

_WRITTEN_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".mha")  # not .mhd: two files cannot appear at once


def write_volume(path: Path, volume: Volume, *, overwrite: bool = False) -> None:
    """Write `volume` in its source's own axes and affine, in its array's data type, as .nii, .nii.gz, .nrrd or .mha.

    The file appears whole or not at all. Raises OutputError when it exists (without `overwrite`), its
    name has another ending, or it cannot be written.
    """
    _write(path, volume, (), overwrite)


def write_labels(path: Path, volume: Volume, *, labels: Sequence[NamedLabel] = (), overwrite: bool = False) -> None:
    """Write a label map of ids like `write_volume`; its header names the `labels` (see `flarekit.volumes.naming`).

    Raises OutputError as `write_volume` does, and ValueError when the voxels are not integers.
    """
    if volume.array.dtype.kind not in "iu":
        raise ValueError(f"label ids are integers, got {volume.array.dtype}")
    _write(path, volume, labels, overwrite)


def _write(path: Path, volume: Volume, labels: Sequence[NamedLabel], overwrite: bool) -> None:
    require_writable_format(path)
    with atomic_path(path, overwrite=overwrite) as temporary:
        write = write_nifti if path.name.lower().endswith(NIFTI_SUFFIXES) else write_itk
        write(temporary, volume.to_source_axes(), volume.source.affine, labels=labels)


def sidecar_path(path: Path) -> Path:
    """The JSON file that belongs to a volume: case.nii.gz has case.json."""
    return path.with_name(stem(path) + ".json")


def require_writable_format(path: Path) -> None:
    """Raises OutputError when the name's ending is no format to write: to be called before long work."""
    if not path.name.lower().endswith(_WRITTEN_SUFFIXES):
        raise OutputError(
            "has an ending that names no format to write",
            where=path,
            remedy=f"Use one of {', '.join(_WRITTEN_SUFFIXES)}.",
        )
