"""NIfTI files: the header through nibabel, the voxels decompressed at once and checked against it.

ITK would be a little faster, but takes a file that was cut short for a whole one and NaN for 0.
"""

from __future__ import annotations

import gzip
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
_REFUSALS = (ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError, ValueError)


def read_nifti(path: Path) -> RawVolume:
    """The voxels and affine of a .nii or .nii.gz file. Raises InputError."""
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        shape = _three_axes(image.shape, path)
        proxy = image.dataobj  # where nibabel keeps what it takes out of the header
        assert isinstance(proxy, ArrayProxy)
        array = _stored(path, proxy, shape)
    except _REFUSALS as error:
        raise InputError(f"cannot be read as NIfTI ({_first_line(error)})", where=path, remedy=_DAMAGED) from error
    return RawVolume(
        array=array,
        affine=np.asarray(image.affine, dtype=np.float64),
        slope=float(proxy.slope),
        intercept=float(proxy.inter),
    )


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array (I, J, K), `affine` in both of NIfTI's forms; the same input gives the same bytes."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER)
    with path.open("wb") as file:
        if path.suffix == ".gz":
            _compress(image, file)
        else:
            image.to_stream(file)


def _stored(path: Path, proxy: ArrayProxy, shape: tuple[int, ...]) -> np.ndarray:
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = gzip.decompress(content)
    array = np.frombuffer(content, dtype=proxy.dtype, count=int(np.prod(shape)), offset=proxy.offset)
    return array.reshape(shape, order="F")


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
