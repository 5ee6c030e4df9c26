"""NIfTI files: the header through nibabel, the voxels decompressed at once and checked against it.

ITK would be a little faster, but takes a file that was cut short for a whole one and NaN for 0.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path
from typing import IO

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from flarekit.errors import InputError
from flarekit.volumes.raw import RawVolume

_SCANNER = 1  # NIfTI's code for coordinates in the scanner's space
_DAMAGED = "Copy or download it again: it is damaged, cut short, or not a NIfTI file."
_REFUSALS = (
    ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError, OverflowError, ValueError
)  # fmt: skip
_NIFTI2 = tuple((540).to_bytes(4, order) for order in ("little", "big"))  # how a NIfTI-2 header starts
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes for metres, millimetres and micrometres
_LENGTH_BITS = 7  # where `xyzt_units` keeps such a code

logger = logging.getLogger(__name__)


def read_nifti(path: Path) -> RawVolume:
    """The voxels and affine of a .nii or .nii.gz file (NIfTI-1 or -2). Raises InputError.

    Without any orientation in the header, the first axis is taken to run from the patient's left to right as
    nibabel does, and a warning says so.
    """
    try:
        content = _content(path)
        image = _image(content)
        shape = _three_axes(image.shape, path)
        proxy = image.dataobj  # where nibabel keeps what it takes out of the header
        assert isinstance(proxy, ArrayProxy)
        array = np.frombuffer(content, dtype=proxy.dtype, count=int(np.prod(shape)), offset=proxy.offset)
        array = array.reshape(shape, order="F")
    except _REFUSALS as error:
        raise InputError(f"cannot be read as NIfTI ({_first_line(error)})", where=path, remedy=_DAMAGED) from error
    _check_orientation(image.header, content, path)
    return RawVolume(
        array=array,
        affine=_affine_mm(image),
        slope=float(proxy.slope),
        intercept=float(proxy.inter),
        stored_shape=None if image.shape == array.shape else image.shape,
    )


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array (I, J, K), `affine` in both of NIfTI's forms; the same input gives the same bytes."""
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER)
    with path.open("wb") as file:
        if path.suffix.lower() == ".gz":
            _compress(image, file)
        else:
            image.to_stream(file)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix.lower() == ".gz" else content


def _image(content: bytes) -> nibabel.Nifti1Image:
    kind = nibabel.Nifti2Image if content.startswith(_NIFTI2) else nibabel.Nifti1Image
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # it would print what it raises as well
    return kind.from_bytes(content)


def _check_orientation(header: nibabel.Nifti1Header, content: bytes, path: Path) -> None:
    """Raises InputError where the affine stands on a spacing of 0; warns where the file has no orientation."""
    if header["sform_code"] > 0:
        return
    stated = type(header)(content[: header.sizeof_hdr], check=False)  # nibabel has made a 0 to a 1 elsewhere
    if (stated["pixdim"][1:4] == 0).any():
        raise InputError(
            f"has no usable geometry: its spacing is {stated['pixdim'][1:4].tolist()}",
            where=path,
            remedy="Repair its header or export it again.",
        )
    if header["qform_code"] <= 0:
        logger.warning("%s: says no orientation; check that left and right are not exchanged.", path)


def _affine_mm(image: nibabel.Nifti1Image) -> np.ndarray:
    """(4, 4) float64, voxel to RAS+ mm, whatever unit of length the header names."""
    mm = _MM.get(int(image.header["xyzt_units"]) & _LENGTH_BITS, 1.0)
    return np.diag([mm, mm, mm, 1.0]) @ np.asarray(image.affine, dtype=np.float64)


def _compress(image: nibabel.Nifti1Image, file: IO[bytes]) -> None:
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as compressed:
        image.to_stream(compressed)


def _three_axes(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    kept = shape[:3] + tuple(n for n in shape[3:] if n != 1)
    if len(kept) != 3:
        raise InputError(
            f"has {len(kept)} axes {kept}, a volume has 3",
            where=path,
            remedy="Give one three-dimensional CT a file.",
        )
    return kept


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
