"""Reads CTs and label maps of every supported format onto the canonical axial grid."""

from __future__ import annotations

import os
from pathlib import Path

from flarekit.errors import InputError
from flarekit.volumes.dicom import read_dicom
from flarekit.volumes.formats import ITK_SUFFIXES, NIFTI_SUFFIXES, SUFFIXES
from flarekit.volumes.itk import read_itk
from flarekit.volumes.nifti import read_nifti
from flarekit.volumes.raw import RawVolume
from flarekit.volumes.values import to_hu, to_ids
from flarekit.volumes.volume import Volume


def read_volume(path: Path) -> Volume:
    """A CT as int16 HU (Z, H, W), from .nii, .nii.gz, .nrrd, .mha, .mhd, or a folder with one DICOM series.

    Values are rounded to whole HU and clipped to what int16 holds; a single slice is a volume with Z = 1.
    Raises InputError when the file is missing, damaged, not three-dimensional, empty, or holds NaN.
    """
    volume, raw = _read(path)
    return volume.like(to_hu(volume.array, raw, path))


def read_labels(path: Path) -> Volume:
    """A label map as ids (Z, H, W), uint8 where they fit, else int32, from the formats of `read_volume`.

    Raises InputError when the file is missing, damaged, not three-dimensional, or holds broken numbers.
    """
    volume, raw = _read(path)
    return volume.like(to_ids(volume.array, raw, path))


def _read(path: Path) -> tuple[Volume, RawVolume]:
    raw = _read_raw(Path(path))
    try:
        return Volume.from_source(raw.array, raw.affine, path=Path(path)), raw
    except ValueError as error:
        raise InputError(
            f"has no usable geometry: {error}", where=path, remedy="Repair its header or export it again."
        ) from error


def _read_raw(path: Path) -> RawVolume:
    if not os.path.exists(path):  # unlike Path.exists, False for a name that is too long
        raise InputError("does not exist", where=path, remedy="Check the path.")
    if path.is_dir():
        return read_dicom(path)
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return read_nifti(path)
    if path.name.lower().endswith(ITK_SUFFIXES):
        return read_itk(path)
    raise InputError(
        "is not a volume that flarekit reads",
        where=path,
        remedy=f"Give one of {', '.join(SUFFIXES)}, or a folder with one DICOM series.",
    )
