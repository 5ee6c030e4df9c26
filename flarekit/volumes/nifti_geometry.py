"""Where a NIfTI header says its voxels lie: the sform before the qform, in mm, with a warning where they quarrel."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import nibabel
import numpy as np

from flarekit.errors import InputError

_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes for metres, millimetres and micrometres
_LENGTH_BITS = 7  # where `xyzt_units` keeps such a code
_QUARREL_VOXELS = 1.0  # across a CT; less may be the rounding of a qform, which keeps half turns in float32

logger = logging.getLogger(__name__)


def affine_mm(header: nibabel.Nifti1Header) -> np.ndarray:
    """(4, 4) float64, voxel to RAS+ mm, whatever unit of length the header names."""
    return _to_mm(header) @ np.asarray(header.get_best_affine(), dtype=np.float64)


def check_orientation(header: nibabel.Nifti1Header, head: bytes, path: Path) -> None:
    """Raises InputError where the affine stands on a spacing that is none; warns of two orientations, or of none.

    `head` is what the file begins with.
    """
    if header["sform_code"] > 0:
        _compare_forms(header, path)
        return
    stated = type(header)(head[: header.sizeof_hdr], check=False)  # nibabel has made a 0 to a 1 elsewhere, and -1 to 1
    if not (stated["pixdim"][1:4] > 0).all():  # programs differ in whether a negative one mirrors
        raise InputError(
            f"has no usable geometry: its spacing is {stated['pixdim'][1:4].tolist()}",
            where=path,
            remedy="Repair its header or export it again.",
        )
    if header["qform_code"] <= 0:
        logger.warning("%s: says no orientation; check that left and right are not exchanged.", path)


def _compare_forms(header: nibabel.Nifti1Header, path: Path) -> None:
    """Warns where the qform, which does not count beside an sform, puts voxels elsewhere."""
    if header["qform_code"] <= 0:
        return
    qform = _qform(header)
    if qform is None:
        logger.warning("%s: its qform is no rotation; the sform is used.", path)
        return
    if apart := quarrel(header, qform):
        logger.warning(
            "%s: its sform and qform differ by up to %.3g mm and %.2g degrees; the sform is used.",
            path,
            apart * _to_mm(header)[0, 0],
            _angle_deg(header.get_sform()[:3, :3], qform[:3, :3]),
        )


def quarrel(header: nibabel.Nifti1Header, qform: np.ndarray) -> float:
    """How far from the sform `qform` puts a voxel at most, in the header's unit; 0 where it may be rounding."""
    sform = header.get_sform()
    apart = _farthest(sform - qform, header.get_data_shape()[:3])
    return apart if apart > _QUARREL_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min() else 0.0


def _qform(header: nibabel.Nifti1Header) -> np.ndarray | None:
    try:
        qform: np.ndarray = header.get_qform()
    except ValueError:  # its quaternion is longer than 1
        return None
    return qform if np.isfinite(qform).all() else None


def _farthest(difference: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far apart two affines, given their difference, put a corner voxel at most."""
    corners = itertools.product(*((0, size - 1) for size in shape))
    return max(float(np.linalg.norm(difference @ (*corner, 1))) for corner in corners)


def _angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """The largest angle between the same axis (column) of two grids."""
    cosines = (a * b).sum(axis=0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))
    return float(np.rad2deg(np.arccos(np.clip(cosines, -1, 1))).max())


def _to_mm(header: nibabel.Nifti1Header) -> np.ndarray:
    mm = _MM.get(int(header["xyzt_units"]) & _LENGTH_BITS, 1.0)
    return np.diag([mm, mm, mm, 1.0])
