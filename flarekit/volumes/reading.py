"""Reads CTs and label maps of every supported format onto the canonical axial grid."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from flarekit.errors import InputError, UsageError
from flarekit.files import require_existing
from flarekit.volumes.dicom import is_archive, is_dicom_file, read_dicom, read_dicom_labels
from flarekit.volumes.embedding import embedded
from flarekit.volumes.formats import METAIMAGE_SUFFIXES, NIFTI_SUFFIXES, NRRD_SUFFIXES, SUFFIXES
from flarekit.volumes.hu import AUTO, HuOffset, find_offset, holds_bytes, take_off
from flarekit.volumes.metaimage import read_metaimage
from flarekit.volumes.nifti import read_nifti
from flarekit.volumes.nrrd import read_nrrd
from flarekit.volumes.raw import RawVolume
from flarekit.volumes.values import to_hu, to_ids
from flarekit.volumes.volume import Volume

_READERS = {NIFTI_SUFFIXES: read_nifti, NRRD_SUFFIXES: read_nrrd, METAIMAGE_SUFFIXES: read_metaimage}

logger = logging.getLogger(__name__)


def read_volume(path: Path, *, hu_offset: HuOffset = AUTO, series: str | None = None) -> Volume:
    """A CT as int16 HU (Z, H, W), from one of `SUFFIXES` or DICOM (a folder, its zip, or many frames).

    Values are rounded to whole HU and clipped to what int16 holds; a single slice is a volume with Z = 1.
    `hu_offset` is taken off them (0: nothing); `auto` takes off 1024 where they are plainly HU + 1024, and says so.
    `series` chooses among DICOM series, by number or UID.
    Raises InputError when the file is missing, damaged, not three-dimensional, empty, or holds NaN, and UsageError
    for a series that is not there.
    """
    volume, raw = read_stored(path, series=series)
    hu = to_hu(volume.array, raw, path)
    offset = _offset(hu, path) if hu_offset == AUTO else hu_offset
    if offset:
        take_off(hu, offset)
    return replace(volume, array=hu, hu_offset=offset)


def read_labels(path: Path, *, like: Volume | None = None) -> Volume:
    """A label map as ids (Z, H, W), uint8 where they fit, else int32, from the formats of `read_volume`.

    A DICOM-SEG gives the numbers of its segments. It leaves empty slices out, so that its grid reaches from its lowest
    slice to its highest, or is that of the image `like`, which is not looked at for other formats.
    Raises InputError when the file is missing, damaged, not three-dimensional, or holds broken numbers.
    """
    volume, raw = read_stored_labels(path, like=like)
    return volume.like(to_ids(volume.array, raw, path))


def read_stored(path: Path, *, series: str | None = None) -> tuple[Volume, RawVolume]:
    """The numbers of a CT's file as they are stored (of DICOM, HU), on the canonical grid, and how to scale them.

    Raises InputError or UsageError.
    """
    path = Path(path)
    _require_there(path)
    raw = _read_raw(path, series)
    return _placed(raw, path), raw


def read_stored_labels(path: Path, *, like: Volume | None = None) -> tuple[Volume, RawVolume]:
    """The numbers of a label map's file like `read_stored`'s, before they are known to be ids; `like` as `read_labels`.

    Raises InputError.
    """
    path = Path(path)
    _require_there(path)
    is_segmentation = _is_dicom(path)
    raw = read_dicom_labels(path, like) if is_segmentation else _read_raw(path, None)
    volume = _placed(raw, path)
    return embedded(volume, like) if is_segmentation and like is not None else volume, raw


def _placed(raw: RawVolume, path: Path) -> Volume:
    try:
        return replace(Volume.from_source(raw.array, raw.affine, path=path), origin=raw.origin)
    except ValueError as error:
        raise InputError(
            f"has no usable geometry: {error}", where=path, remedy="Repair its header or export it again."
        ) from error


def _offset(hu: np.ndarray, path: Path) -> int:
    """What `auto` takes off, with a warning where it is not nothing, or where nothing could make it HU."""
    offset = find_offset(hu)
    if offset:
        logger.warning("%s: holds HU + %d: %d was taken off (--hu-offset none leaves it).", path, offset, offset)
    elif holds_bytes(hu):
        logger.warning("%s: holds values of 0..255: an 8-bit image, not HU; expect no sensible result.", path)
    return offset


def _require_there(path: Path) -> None:
    require_existing(path)
    if not (path.is_file() or path.is_dir()):
        raise InputError("is a pipe or device", where=path, remedy="Give the name of a file.")


def _is_dicom(path: Path) -> bool:
    return path.is_dir() or is_archive(path) or (not path.name.lower().endswith(SUFFIXES) and is_dicom_file(path))


def _read_raw(path: Path, series: str | None) -> RawVolume:
    if _is_dicom(path):
        return read_dicom(path, series)
    if series is not None:
        raise UsageError(f"--series chooses among DICOM series, and {path} is not DICOM", remedy="Leave it out.")
    for suffixes, read in _READERS.items():
        if path.name.lower().endswith(suffixes):
            return read(path)
    raise InputError(
        "is not a volume that flarekit reads",
        where=path,
        remedy=f"Give one of {', '.join(SUFFIXES)}, or a folder or zip with a DICOM series, or convert it to .nii.gz.",
    )
