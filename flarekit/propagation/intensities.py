"""Intensities around annotated outlines: what a pixel's HU alone says of the slices in between.

A network's masks are as fine as its grid, a CT is finer. Each annotated slice shows which HU an object has and which
the pixels around it have; their ratio is evidence for or against the object wherever it may be. (Boykov and Jolly,
"Interactive graph cuts for optimal boundary and region segmentation of objects in N-D images", ICCV 2001, take
histograms of what a user drew as such odds.) The odds are small: they settle what network and outlines leave open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from flarekit.config.propagation import IntensityConfig
from flarekit.propagation.outlines import Outlines, Region, share_above

LOWEST_HU, HIGHEST_HU, BIN_HU = -250, 450, 10  # what lies beyond counts as the first or the last bin
BINS = (HIGHEST_HU - LOWEST_HU) // BIN_HU
TINY = 1e-9  # added to both shares of a bin, so that one that holds nothing says nothing
SLICES_AT_ONCE = 4  # whose bins are kept

Histograms = np.ndarray  # (2, BINS) float64: pixels of an object, and of its surroundings


class Intensities:
    """The HU inside and around the outlines of the annotated slices, counted when they are first needed."""

    def __init__(
        self, hu: np.ndarray, spacing_mm: tuple[float, float, float], outlines: Outlines, config: IntensityConfig
    ) -> None:
        """`hu` (Z, H, W) of the volume whose annotated slices have these outlines, `spacing_mm` (z, h, w)."""
        self._outlines, self._config = outlines, config
        blur_px = [config.noise_mm / spacing for spacing in spacing_mm[1:]]
        # Without self, as in `Outlines`: no cycle keeps a CT until the garbage collector comes by.
        self._bins = lru_cache(maxsize=SLICES_AT_ONCE)(partial(_binned, hu, blur_px))
        self._histograms = lru_cache(maxsize=None)(partial(_counted, self._bins, outlines, config.around_mm))

    @property
    def strongest(self) -> float:
        """Log-odds that none are beyond, for or against any object."""
        return self._config.limit

    def log_odds(self, z: int, k: int, region: Region) -> np.ndarray:
        """float32 (rows, columns): how much likelier the HU of slice z are in object k than around it."""
        below, above = self._outlines.neighbours(z, k)
        share = share_above(z, below, above)
        seen = (1 - share) * self._histograms(below, k) + share * self._histograms(above, k)
        return self._odds(seen)[self._bins(z)[region]]

    def _odds(self, seen: Histograms) -> np.ndarray:
        """float32 (BINS,): 0 where object or surroundings were not seen, and where nothing was."""
        from scipy.ndimage import gaussian_filter  # takes a while, in which other slices are worked on

        pixels = seen.sum(axis=1, keepdims=True)
        if not pixels.all():
            return np.zeros(BINS, dtype=np.float32)
        smooth = gaussian_filter(seen, (0, self._config.spread_hu / BIN_HU), mode="nearest")
        common = smooth.sum(axis=0) / pixels.sum()
        own, around = (smooth + self._config.doubt_px * common) / (pixels + self._config.doubt_px)
        odds = np.log((own + TINY) / (around + TINY))
        return odds.clip(-self._config.limit, self._config.limit).astype(np.float32)


def _counted(bins_of: Callable[[int], np.ndarray], outlines: Outlines, around_mm: float, z: int, k: int) -> Histograms:
    distance = outlines.distance(z, k)
    if distance is None:
        return np.zeros((2, BINS))
    bins, mm = bins_of(z)[distance.region], distance.mm
    areas = mm > 0, (mm < 0) & (mm >= -around_mm)
    return np.stack([np.bincount(bins[area], minlength=BINS).astype(float) for area in areas])


def _binned(hu: np.ndarray, blur_px: Sequence[float], z: int) -> np.ndarray:
    """uint8 (H, W): the bin of every pixel of slice z."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(hu[z].clip(LOWEST_HU, HIGHEST_HU - 1).astype(np.float32), blur_px)
    return ((smooth - LOWEST_HU) / BIN_HU).clip(0, BINS - 1).astype(np.uint8)
