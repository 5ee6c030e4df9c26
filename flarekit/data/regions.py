"""Rectangles of a slice: where something is, and what lies around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Region = tuple[slice, slice]  # rows and columns of a slice


def joined(regions: Sequence[Region]) -> Region | None:
    """The smallest region around all of them; None without any."""
    if not regions:
        return None
    first, second = (
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*regions, strict=True)
    )
    return first, second


def around(mask: np.ndarray, margin: Sequence[int]) -> Region:
    """Where a mask (H, W) with something in it is, and so many rows and columns around."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    first, second = (
        slice(max(0, int(indices[0]) - wide), min(side, int(indices[-1]) + 1 + wide))
        for indices, wide, side in zip((rows, columns), margin, mask.shape, strict=True)
    )
    return first, second
