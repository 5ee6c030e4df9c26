"""NIfTI files: the header through nibabel, the voxels unpacked into one array, never more than it speaks of.

ITK unpacks 0 to 25 % faster, for twice the memory; and it takes a file that was cut short for a whole one, NaN for 0,
and ct.nii for ct.nii.gz where both are there. 512x512x300 int16, seconds of CPU on one AVX2 core: zlib alone 0.75, here
0.8, SimpleITK 0.65, nibabel 1.2. `flarekit bench read` compares them, in wall time and memory, on any machine.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import nibabel
import numpy as np

from flarekit.volumes.inflate import Inflater
from flarekit.volumes.naming import EXTENSION_CODE, NamedLabel, caret_extension
from flarekit.volumes.nifti_geometry import affine_mm, check_orientation, quarrel
from flarekit.volumes.raw import RawVolume
from flarekit.volumes.refusal import refusing, three_axes
from flarekit.volumes.stored import StoredVoxels, read_voxels

_SCANNER = 1  # NIfTI's code for coordinates in the scanner's space
_GZIP = b"\x1f\x8b"  # how a gzip file starts
_LONGEST_BYTES = 540  # NIfTI-2's header
_NIFTI2 = tuple((540).to_bytes(4, order) for order in ("little", "big"))  # how a NIfTI-2 header starts


def read_nifti(path: Path) -> RawVolume:
    """The voxels and affine of a .nii or .nii.gz file (NIfTI-1 or -2). Raises InputError.

    Where sform and qform differ the sform holds, as in nibabel, and a warning says by how much. Without any
    orientation, the first axis is taken to run from the patient's left to right, and a warning says so.
    """
    with refusing("NIfTI", path), np.errstate(all="ignore"):
        head = _head(path)
        header = _header(head)
        stored = _stored(header, path)
        array = read_voxels(stored)
        slope, intercept = header.get_slope_inter()  # None where there is nothing to scale
        affine = affine_mm(header)
        check_orientation(header, head, path)
    return RawVolume(
        array=array,
        affine=affine,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        stored_shape=None if header.get_data_shape() == array.shape else header.get_data_shape(),
    )


def write_nifti(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    slope: float | None = None,
    labels: Sequence[NamedLabel] = (),
) -> None:
    """Write an array (I, J, K), `affine` in both of NIfTI's forms; the same input gives the same bytes.

    A sheared grid, as of a tilted gantry, goes into the sform alone: a qform cannot say it, and would be believed.
    With `slope` the header says that the numbers are to be multiplied by it; they themselves are written as they are.
    `labels` are named in a header extension.
    """
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    if slope is not None:
        image.header.set_slope_inter(slope, 0.0)
    if labels:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(EXTENSION_CODE, caret_extension(labels)))
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER)
    if quarrel(image.header, image.get_qform()):
        image.set_qform(None, code=0)
    with path.open("wb") as file:
        if path.suffix.lower() == ".gz":
            _compress(image, file)
        else:
            image.to_stream(file)


def _head(path: Path) -> bytes:
    """What the file begins with, enough for the longer of the two headers and shorter only where the file is."""
    with path.open("rb") as file:
        return Inflater(file).read(_LONGEST_BYTES) if _holds_gzip(path) else file.read(_LONGEST_BYTES)


def _header(head: bytes) -> nibabel.Nifti1Header:
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # it would print what it raises as well
    kind = nibabel.Nifti2Header if head.startswith(_NIFTI2) else nibabel.Nifti1Header
    header = kind(head[: kind.sizeof_hdr])
    if not header["magic"].item().startswith(b"n+"):
        raise ValueError("it is one half of a pair of .hdr and .img: convert the pair to .nii.gz")
    return header


def _stored(header: nibabel.Nifti1Header, path: Path) -> StoredVoxels:
    shape = three_axes(header.get_data_shape(), path)
    dtype, offset = header.get_data_dtype(), header.get_data_offset()
    if _holds_gzip(path):
        return StoredVoxels(path=path, dtype=dtype, shape=shape, is_deflated=True, skipped=offset)
    return StoredVoxels(path=path, dtype=dtype, shape=shape, offset=offset)


def _holds_gzip(path: Path) -> bool:
    """By its content: files lose or gain a .gz when they are renamed."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _compress(image: nibabel.Nifti1Image, file: IO[bytes]) -> None:
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as compressed:
        image.to_stream(compressed)
