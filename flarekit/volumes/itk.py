"""NRRD and MetaImage written through SimpleITK, which is LPS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from flarekit.volumes.naming import NamedLabel, segment_fields

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_itk(path: Path, array: np.ndarray, affine: np.ndarray, *, labels: Sequence[NamedLabel] = ()) -> None:
    """Write an array (I, J, K) with its affine to RAS+ mm as .nrrd or .mha, compressed. Raises OSError.

    `labels` are named in the header.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for key, value in segment_fields(labels, array.shape).items() if labels else ():
        image.SetMetaData(key, value)
    silence()
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError("SimpleITK gave up: is the disk full?") from error


def silence() -> None:
    """Keep ITK quiet: it would write warnings to stderr that are raised as errors where they matter."""
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
