"""What annotators can have without a network for the slices between annotated ones.

Both rivals take annotated class slices (H, W) by slice number and give (slice number, classes) for every slice
of the volume, annotated ones as they are. They raise ValueError without an annotated slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from scipy.ndimage import distance_transform_edt

from flarekit.labels import IGNORE


def copy_nearest(annotated: Mapping[int, np.ndarray], depth: int) -> Iterator[tuple[int, np.ndarray]]:
    """The nearest annotated slice as it is; of two equally near ones the lower."""
    known = sorted(annotated)
    if not known:
        raise ValueError("there is no annotated slice")
    for z in range(depth):
        yield z, annotated[min(known, key=lambda other: (abs(other - z), other))]


def interpolate(
    annotated: Mapping[int, np.ndarray], depth: int, spacing_mm: tuple[float, float]
) -> Iterator[tuple[int, np.ndarray]]:
    """Signed-distance interpolation between neighbouring annotated slices, organ by organ.

    This is what "fill between slices" does in annotation tools: distances to an organ's outline (in mm, with the
    in-plane spacing of rows and columns) go over linearly from one slice to the next, and the organ is where
    they are inside. A pixel that several organs claim belongs to the one it lies deepest in. An organ that only
    one of the two slices shows is taken from the nearest, as is everything beyond the last annotated slice.
    """
    copies = dict(copy_nearest(annotated, depth))
    for below, above in pairwise(sorted(annotated)):
        ends = _distances(annotated[below], spacing_mm), _distances(annotated[above], spacing_mm)
        for z in range(below + 1, above):
            copies[z] = _between(*ends, (z - below) / (above - below), annotated[below].shape)
    yield from copies.items()


def _between(
    below: Mapping[int, np.ndarray], above: Mapping[int, np.ndarray], share: float, shape: tuple[int, ...]
) -> np.ndarray:
    """Classes (H, W) `share` of the way from one slice's distances to the other's."""
    nearest = below if share <= 0.5 else above
    classes, deepest = np.zeros(shape, dtype=np.uint8), np.zeros(shape)
    for organ in sorted(below.keys() | above.keys()):
        if organ in below and organ in above:
            inside = (1 - share) * below[organ] + share * above[organ]
        elif organ in nearest:
            inside = nearest[organ]
        else:
            continue
        wins = inside > deepest
        classes[wins], deepest[wins] = organ, inside[wins]
    return classes


def _distances(classes: np.ndarray, spacing_mm: tuple[float, float]) -> dict[int, np.ndarray]:
    """For each organ on a slice the distance (H, W) to its outline in mm, positive inside."""
    return {
        int(organ): _signed_distance(classes == organ, spacing_mm)
        for organ in np.unique(classes)
        if organ not in (0, IGNORE)
    }


def _signed_distance(mask: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    if mask.all():
        return np.full(mask.shape, np.inf)
    return distance_transform_edt(mask, spacing_mm) - distance_transform_edt(~mask, spacing_mm)
