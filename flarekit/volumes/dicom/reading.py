"""Reads the CT in a folder, zip or file of DICOM, or the segmentation."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.archive import is_archive, unpacked
from flarekit.volumes.dicom.frames import require_justified
from flarekit.volumes.dicom.header import Header, files_below, read_header, starts_like_dicom
from flarekit.volumes.dicom.hounsfield import read_hu
from flarekit.volumes.dicom.origin import Origin
from flarekit.volumes.dicom.segmentation import read_segmentation
from flarekit.volumes.dicom.series import Series, choose
from flarekit.volumes.dicom.slices import Pixels
from flarekit.volumes.dicom.stacking import stack
from flarekit.volumes.raw import RawVolume
from flarekit.volumes.volume import Volume

logger = logging.getLogger(__name__)


def read_dicom(path: Path, series: str | None = None) -> RawVolume:
    """The voxels (int16 HU) and affine of the one CT in a folder and its subfolders, a zip, or a multi-frame file.

    `series` chooses among several: a series number, with :N for the N-th phase, or a UID. Files may have any names;
    localizers, segmentations and whatever is not DICOM are passed over. Raises InputError where there is no CT,
    several without a choice, or one that is not whole, and UsageError for a choice that is not there.
    """
    with _headers(path) as headers:
        if path.is_file() and not is_archive(path):
            _require_many_frames(headers[0])
        return _stacked(choose(headers, series, path), path)


def read_dicom_labels(path: Path, like: Volume | None = None) -> RawVolume:
    """The segment numbers and affine of a DICOM-SEG: a file, or the only one in a folder or zip.

    Its slices are those of the image `like` that it was drawn on. Raises InputError.
    """
    with _headers(path) as headers:
        found = [header for header in headers if header.is_segmentation]
        if len(found) != 1:
            names = ", ".join(header.path.name for header in found[:10])
            raise InputError(
                f"holds {len(found)} segmentations: {names}" if found else "holds no segmentation (DICOM-SEG)",
                where=path,
                remedy="Give the file of one DICOM-SEG, or a label map as .nii.gz, .nrrd or .mha.",
            )
        return read_segmentation(found[0], like)


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, whatever its name."""
    return path.is_file() and starts_like_dicom(path)


def is_segmentation_file(path: Path) -> bool:
    """Whether a file is a DICOM-SEG. Raises InputError when it cannot be opened."""
    header = read_header(path) if path.is_file() and path.stat().st_size else None
    return header is not None and header.is_segmentation


@contextmanager
def _headers(path: Path) -> Iterator[list[Header]]:
    """The headers of all DICOM files in a folder, zip or file; a zip's files are there as long as the block runs."""
    if is_archive(path):
        with unpacked(path) as folder:
            yield _read_headers(files_below(folder))
    else:
        yield _read_headers(files_below(path) if path.is_dir() else [path])


def _read_headers(files: list[Path]) -> list[Header]:
    return [header for file in files if (header := read_header(file)) is not None]


def _require_many_frames(header: Header) -> None:
    if header.is_ct and not header.content.damage and header.elements.number(tags.FRAMES, 1) <= 1:
        raise InputError(
            "is one slice of a DICOM series", where=header.path, remedy="Give the folder that holds all of its slices."
        )


def _stacked(series: Series, path: Path) -> RawVolume:
    files = {s.path: Pixels.of(s.header) for s in series.slices}
    for file, described in Counter(s.path for s in series.slices).items():
        files[file].require_described(described)
    slices, affine = stack(series.slices, path)
    _tell_units(series, path)
    shape = (len(slices), *slices[0].shape)
    require_justified(2 * math.prod(shape), sum(pixels.held_bytes for pixels in files.values()), path)
    hu = np.empty(shape, dtype=np.int16)
    for k, slice_ in enumerate(slices):
        hu[k] = read_hu(slice_)
    return RawVolume(array=hu.transpose(2, 1, 0), affine=affine, origin=Origin.of(slices))


def _tell_units(series: Series, path: Path) -> None:
    say = series.slices[0].header.elements
    units = say.text(tags.RESCALE_TYPE).upper()
    if units not in ("", "HU", "US"):
        logger.warning("%s: says that its values are %s, not HU.", path, units[:16])
