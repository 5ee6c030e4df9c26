"""Outlines between annotated slices: what a mask's shape alone says of the slices in between.

Annotation tools fill between slices by going over linearly from one signed distance to the next (Raya and Udupa,
"Shape-based interpolation of multidimensional objects", IEEE Transactions on Medical Imaging 1990). Near an
annotated slice that is hard to beat, far from one it knows nothing. Here it is evidence of its own: log-odds that
are steep close to an annotated slice, soft and weak far from it, and added to the network's.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from flarekit.config.propagation import BAND_MM, OutlineConfig

Region = tuple[slice, slice]  # rows and columns of a slice


class Distance(NamedTuple):
    """Signed distance to an outline in mm, positive inside, where it is not farther outside than BAND_MM."""

    region: Region
    mm: np.ndarray  # float32
    inside: Region  # around the outline itself


class Outlines:
    """The outlines of the annotated slices, measured when they are first needed."""

    def __init__(
        self,
        annotated: Mapping[int, np.ndarray],
        known: Mapping[int, np.ndarray],
        spacing_mm: tuple[float, float, float],
        config: OutlineConfig,
    ) -> None:
        """`annotated` and `known` as for `fill_slices`, one entry in both for each annotated slice."""
        objects = len(next(iter(known.values())))
        self._annotated, self._spacing_mm, self._config = annotated, spacing_mm, config
        self._slices = [[z for z in sorted(annotated) if known[z][k]] for k in range(objects)]
        self._measured_once = lru_cache(maxsize=4 * objects)(partial(_measured, annotated, spacing_mm))

    def log_odds(self, z: int, k: int, region: Region) -> np.ndarray:
        """float32 (rows, columns): how much more likely than not object k is on slice z, pixel by pixel."""
        below, above = self.neighbours(z, k)
        nearest_mm = self._away_mm(z, (below, above))
        share = share_above(z, below, above)
        distance = (1 - share) * self._on(below, k, region)
        if share:
            distance += share * self._on(above, k, region)
        distance /= self._config.blur_mm + self._config.blur_per_mm * nearest_mm
        limit, fading = self._config.limit, self._fading(nearest_mm)
        return distance.clip(-limit, limit, out=distance) * np.float32(fading)

    def strongest(self, z: int) -> float:
        """Log-odds that those on slice z are not beyond, for or against any object."""
        return self._config.limit * self._fading(self._away_mm(z, self._annotated))

    def likely(self, z: int, k: int) -> Region | None:
        """Where on slice z the log-odds of object k may be above 0; None if they are nowhere."""
        distances = [self.distance(neighbour, k) for neighbour in self.neighbours(z, k)]
        return joined([distance.inside for distance in distances if distance is not None])

    def neighbours(self, z: int, k: int) -> tuple[int, int]:
        """The slices at or nearest below and above z that object k is annotated on; one twice beyond the last."""
        slices = self._slices[k]
        below, above = bisect_right(slices, z) - 1, bisect_left(slices, z)
        return slices[max(0, below)], slices[min(above, len(slices) - 1)]

    def distance(self, z: int, k: int) -> Distance | None:
        """To the outline of object k on annotated slice z; None where it is not there."""
        return self._measured_once(z, k)

    def _away_mm(self, z: int, slices: Iterable[int]) -> float:
        """From slice z to the nearest of some others."""
        return min(abs(z - other) for other in slices) * self._spacing_mm[0]

    def _fading(self, nearest_mm: float) -> float:
        return math.exp(-nearest_mm / self._config.fade_mm)

    def _on(self, z: int, k: int, region: Region) -> np.ndarray:
        """Distances (rows, columns) in mm on annotated slice z; the same everywhere when the object is not there."""
        shape = tuple(part.stop - part.start for part in region)
        distance = self.distance(z, k)
        if distance is None:
            return np.full(shape, -self._config.absent_mm, dtype=np.float32)
        mm = np.full(shape, -BAND_MM, dtype=np.float32)
        overlap = tuple(
            slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
            for a, b in zip(region, distance.region, strict=True)
        )
        mm[_from(overlap, region)] = distance.mm[_from(overlap, distance.region)]
        return mm


def share_above(z: int, below: int, above: int) -> float:
    """How much of slice z is told by the neighbour above, 0..1; the rest is told by the one below."""
    return (z - below) / (above - below) if above > below else 0.0


def joined(regions: Sequence[Region]) -> Region | None:
    """The smallest region around all of them; None without any."""
    if not regions:
        return None
    first, second = (
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*regions, strict=True)
    )
    return first, second


def _measured(
    annotated: Mapping[int, np.ndarray], spacing_mm: tuple[float, float, float], z: int, k: int
) -> Distance | None:
    from scipy.ndimage import distance_transform_edt  # takes a while, in which other slices are worked on

    mask = annotated[z] == k + 1
    if not mask.any():
        return None
    pixels = [math.ceil(BAND_MM / spacing) for spacing in spacing_mm[1:]]
    region, own = _around(mask, pixels), _around(mask, (0, 0))
    mask = mask[region]
    outside = distance_transform_edt(~mask, spacing_mm[1:])
    inside = distance_transform_edt(mask, spacing_mm[1:]) if not mask.all() else np.full(mask.shape, BAND_MM)
    return Distance(region, np.maximum(inside - outside, -BAND_MM).astype(np.float32), own)


def _around(mask: np.ndarray, margin: Sequence[int]) -> Region:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    first, second = (
        slice(max(0, int(indices[0]) - wide), min(side, int(indices[-1]) + 1 + wide))
        for indices, wide, side in zip((rows, columns), margin, mask.shape, strict=True)
    )
    return first, second


def _from(part: Sequence[slice], whole: Region) -> Region:
    """A part of a slice counted from the corner of another that holds it."""
    first, second = (slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))
    return first, second
