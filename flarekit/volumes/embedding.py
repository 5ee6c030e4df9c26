"""A label map that covers a part of an image's grid, on the whole of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.geometry import GRID_TOLERANCE_VOXELS
from flarekit.volumes.volume import Volume


def embedded(part: Volume, whole: Volume) -> Volume:
    """`part` on the grid of `whole`, 0 where it says nothing: nothing is interpolated.

    Raises InputError when its voxels do not lie on voxels of `whole`.
    """
    depth, height, width = part.array.shape
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(part.array.shape) - 1)
    homogeneous = np.concatenate([corners, np.ones((8, 1))], axis=1)
    places = (homogeneous @ (np.linalg.inv(whole.affine) @ part.affine).T)[:, :3]  # in voxels of `whole`
    z, h, w = first = np.rint(places[0]).astype(int)
    off = np.abs(places - corners - first).max()
    if off > GRID_TOLERANCE_VOXELS or (first < 0).any() or (first + part.array.shape > whole.array.shape).any():
        raise InputError(
            f"does not lie on the image's grid: shape (Z, H, W) {part.array.shape} from voxel "
            f"{tuple(places[0].round(2).tolist())} of {whole.array.shape} on",
            where=f"{part.path or 'the labels'} and {whole.path or 'the image'}",
            remedy="Check that they belong to the same case.",
        )
    array = np.zeros(whole.array.shape, dtype=part.array.dtype)
    array[z : z + depth, h : h + height, w : w + width] = part.array
    return replace(whole, array=array, path=part.path)
