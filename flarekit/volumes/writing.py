"""Writes volumes and label maps on the exact grid of the file they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from flarekit.errors import OutputError
from flarekit.files import atomic_path, refuse_existing, write_text
from flarekit.volumes.formats import NIFTI_SUFFIXES, stem
from flarekit.volumes.itk import write_itk
from flarekit.volumes.nifti import write_nifti
from flarekit.volumes.volume import Volume

_NAMES_FORMAT = {"format": "flarekit-label-names", "version": 1}
_WRITTEN_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".mha")  # not .mhd: two files cannot appear at once


def write_volume(path: Path, volume: Volume, *, overwrite: bool = False) -> None:
    """Write `volume` in its source's own axes and affine, in its array's data type, as .nii, .nii.gz, .nrrd or .mha.

    The file appears whole or not at all. Raises OutputError when it exists (without `overwrite`), its
    name has another ending, or it cannot be written.
    """
    require_writable_format(path)
    with atomic_path(path, overwrite=overwrite) as temporary:
        write = write_nifti if path.name.lower().endswith(NIFTI_SUFFIXES) else write_itk
        write(temporary, volume.to_source_axes(), volume.source.affine)


def write_labels(
    path: Path, volume: Volume, *, names: Mapping[int, str] | None = None, overwrite: bool = False
) -> None:
    """Write a label map of ids like `write_volume`; `names` (id to organ) go into a JSON file beside it.

    Raises OutputError as `write_volume` does, and ValueError when the voxels are not integers.
    """
    if volume.array.dtype.kind not in "iu":
        raise ValueError(f"label ids are integers, got {volume.array.dtype}")
    if names is not None:
        refuse_existing(sidecar_path(path), overwrite=overwrite)
    write_volume(path, volume, overwrite=overwrite)
    if names is not None:
        labels = {str(number): name for number, name in sorted(names.items())}
        text = json.dumps(_NAMES_FORMAT | {"labels": labels}, indent=2)
        write_text(sidecar_path(path), text + "\n", overwrite=overwrite)


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
