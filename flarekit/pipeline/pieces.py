"""Small pieces beside an organ that has one: what a network mistakes for it somewhere else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from flarekit.labels import FLARE22
from flarekit.report.statistics import TOUCHING

ONE_PIECE = frozenset(FLARE22.names)  # organs that every body has in one piece; lesions and vertebrae have many

Box = tuple[slice, slice, slice]


def small_pieces(classes: np.ndarray, names: tuple[str, ...], least: float) -> Iterator[tuple[int, Box, np.ndarray]]:
    """Of classes (Z, H, W) of organs with these names: class, box, and a mask of small pieces in that box.

    A piece is small that has less than that share of its organ's largest piece, of organs that are one piece.
    """
    for c, box in enumerate(ndimage.find_objects(classes), start=1):
        if box is None or names[c - 1] not in ONE_PIECE:
            continue
        pieces, count = ndimage.label(classes[box] == c, TOUCHING)
        voxels = np.zeros(count + 1, dtype=np.int64)
        for plane in pieces:  # counting widens its input
            voxels += np.bincount(plane.ravel(), minlength=count + 1)
        voxels[0] = 0  # what lies between them
        small = voxels < least * voxels.max()
        small[0] = False
        if small.any():
            yield c, box, small[pieces]
