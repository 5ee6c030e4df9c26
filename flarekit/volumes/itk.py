"""NRRD and MetaImage written through SimpleITK, which is LPS; and where it takes a file's voxels to lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from flarekit.volumes.geometry import GRID_TOLERANCE_VOXELS
from flarekit.volumes.naming import NamedLabel, segment_fields
from flarekit.volumes.volume import Volume

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


def lies_where_itk_sees_it(path: Path, volume: Volume) -> bool:
    """Whether SimpleITK, and with it programs such as nnU-Net, places this file's voxels where `volume` has them.

    It reads a qform where flarekit reads an sform, and takes no fourth axis for three and no sheared grid.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    silence()
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return False
    if tuple(reader.GetSize()) != volume.source.shape:
        return False
    seen = np.eye(4)
    seen[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    seen[:3, 3] = reader.GetOrigin()
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.source.shape) - 1)
    apart = np.concatenate([corners, np.ones((8, 1))], axis=1) @ (_LPS_TO_RAS @ seen - volume.source.affine).T
    return bool(np.abs(apart).max() <= GRID_TOLERANCE_VOXELS * min(volume.spacing_mm))


def silence() -> None:
    """Keep ITK quiet: it would write warnings to stderr that are raised as errors where they matter."""
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
