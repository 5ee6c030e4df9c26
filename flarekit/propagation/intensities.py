"""Intensities around annotated outlines: what HU alone say of the slices in between (`flarekit.data.intensities`)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flarekit.config.intensities import IntensityConfig
from flarekit.data.intensities import Histograms, binned, counted, log_odds, nothing_counted
from flarekit.data.regions import Region
from flarekit.propagation.outlines import Outlines, share_above

SLICES_AT_ONCE = 4  # whose bins are kept


class Intensities:
    """The HU inside and around the outlines of the annotated slices, counted when they are first needed."""

    def __init__(
        self, hu: np.ndarray, spacing_mm: tuple[float, float, float], outlines: Outlines, config: IntensityConfig
    ) -> None:
        """`hu` (Z, H, W) of the volume whose annotated slices have these outlines, `spacing_mm` (z, h, w)."""
        self._hu, self._pixel_mm, self._outlines, self._config = hu, spacing_mm[1:], outlines, config
        self._bins = lru_cache(maxsize=SLICES_AT_ONCE)(self._binned)
        self._histograms = lru_cache(maxsize=None)(self._counted)

    @property
    def strongest(self) -> float:
        """Log-odds that none are beyond, for or against any object."""
        return self._config.limit

    def log_odds(self, z: int, k: int, region: Region) -> np.ndarray:
        """float32 (rows, columns): how much likelier the HU of slice z are in object k than around it."""
        below, above = self._outlines.neighbours(z, k)
        share = share_above(z, below, above)
        seen = (1 - share) * self._histograms(below, k) + share * self._histograms(above, k)
        return log_odds(seen, self._config)[self._bins(z)[region]]

    def _counted(self, z: int, k: int) -> Histograms:
        distance = self._outlines.distance(z, k)
        if distance is None:
            return nothing_counted()
        mm = distance.mm
        return counted(self._bins(z)[distance.region], mm > 0, (mm < 0) & (mm >= -self._config.around_mm))

    def _binned(self, z: int) -> np.ndarray:
        return binned(self._hu[z], self._pixel_mm, self._config)
