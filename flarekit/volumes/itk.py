"""Volumes to and from SimpleITK, which is LPS, and NRRD and MetaImage written through it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from flarekit.errors import InputError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_itk(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array (I, J, K) with its affine to RAS+ mm as .nrrd or .mha, compressed. Raises OSError."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    silence()
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError("SimpleITK gave up: is the disk full?") from error


def array_view(image: sitk.Image) -> np.ndarray:
    """A read-only view (I, J, K); it lives as long as the image does."""
    array: np.ndarray = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    return array


def affine_of(image: sitk.Image) -> np.ndarray:
    """(4, 4) float64, voxel (i, j, k, 1) to RAS+ mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return _LPS_TO_RAS @ affine


def unreadable(path: Path) -> InputError:
    """The error for a file that SimpleITK gives up on."""
    return InputError(
        "cannot be read: it is damaged, cut short, or not a volume",
        where=path,
        remedy="Copy or download it again, or convert it to .nii.gz.",
    )


def silence() -> None:
    """Keep ITK quiet: it would write warnings to stderr that are raised as errors where they matter."""
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
