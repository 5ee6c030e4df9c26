"""NIfTI files: geometry exactly as nibabel reads it, voxels through SimpleITK where that gives the same."""

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

from flarekit.errors import InputError
from flarekit.volumes.itk import read_voxels
from flarekit.volumes.raw import RawVolume

_SCANNER = 1  # NIfTI's code for coordinates in the scanner's space
_DAMAGED = "Copy or download it again: it is damaged, or not a NIfTI file."
_ITK_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def read_nifti(path: Path) -> RawVolume:
    """The voxels and affine of a .nii or .nii.gz file. Raises InputError."""
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        shape = _three_axes(image.shape, path)
        slope, intercept = image.header.get_slope_inter()
        if _itk_reads_the_same(path, image.header):
            array, owner = read_voxels(path)
        else:
            assert isinstance(image.dataobj, ArrayProxy)
            array, owner = image.dataobj.get_unscaled(), None
    except (ImageFileError, HeaderDataError, EOFError, zlib.error, OSError, ValueError) as error:
        raise InputError(
            f"cannot be read as NIfTI ({_first_line(error)})", where=path, remedy=_DAMAGED
        ) from error
    return RawVolume(
        array=array.reshape(shape, order="A"),
        affine=np.asarray(image.affine, dtype=np.float64),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        owner=owner,
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


def _itk_reads_the_same(path: Path, header: nibabel.Nifti1Header) -> bool:
    """Whether the file is plain: three axes, stored values are the values, and axes that ITK does not refuse.

    ITK looks for voxels by the name without .gz first, and would take them from case.nii beside case.nii.gz.
    """
    plain = len(header.get_data_shape()) == 3 and header.get_data_dtype().name in _ITK_TYPES
    unscaled = header.get_slope_inter() in ((None, None), (1.0, 0.0))
    shadowed = path.suffix == ".gz" and path.with_suffix("").exists()
    return plain and unscaled and not shadowed and _is_orthogonal(header)


def _is_orthogonal(header: nibabel.Nifti1Header) -> bool:
    forms = [header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]]
    for affine in [form for form in forms if form is not None]:
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.isfinite(affine).all() or (lengths < 1e-6).any():
            return False
        cosines = affine[:3, :3] / lengths
        if np.abs(cosines.T @ cosines - np.eye(3)).max() > 1e-5:
            return False
    return any(form is not None for form in forms)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
