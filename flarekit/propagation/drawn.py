"""What annotated slices themselves say of the others, beside the network: their outlines, and the HU around them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from flarekit.config.propagation import PropagationConfig
from flarekit.propagation.intensities import Intensities
from flarekit.propagation.outlines import Outlines, Region


@dataclass(frozen=True)
class Drawn:
    """Evidence from what was drawn; a part that does not count is None."""

    outlines: Outlines | None
    intensities: Intensities | None

    @classmethod
    def on(
        cls,
        annotated: Mapping[int, np.ndarray],
        known: Mapping[int, np.ndarray],
        hu: np.ndarray,
        spacing_mm: tuple[float, float, float],
        config: PropagationConfig,
    ) -> Drawn:
        """On slices of a CT of these HU (Z, H, W) and spacing (z, h, w); `annotated` and `known` as for `Outlines`."""
        if not annotated:
            return cls(None, None)
        outlines = Outlines(annotated, known, spacing_mm, config.outlines)
        intensities = Intensities(hu, spacing_mm, outlines, config.intensities)
        return cls(outlines if config.outlines.use else None, intensities if config.intensities.use else None)

    def log_odds(self, z: int, k: int, region: Region) -> Iterator[np.ndarray]:
        """float32 (rows, columns) of each part: how much likelier than not object k is on slice z, pixel by pixel."""
        for part in (self.outlines, self.intensities):
            if part is not None:
                yield part.log_odds(z, k, region)

    def least(self, z: int, objects: int) -> float:
        """A probability that one of so many objects must have on slice z to win a pixel that it is not `likely` on.

        There outlines do not speak for it, with log-odds of 0 to -l; they may speak against the others as much, and
        intensities for it and against the others with i each. So the background's probability is below e^i p, others'
        below e^(l + 2 i) p, and all of them sum to 1.
        """
        outlines = 0.0 if self.outlines is None else self.outlines.strongest(z)
        intensities = 0.0 if self.intensities is None else self.intensities.strongest
        return 1 / (math.exp(intensities) + objects * math.exp(outlines + 2 * intensities))

    def likely(self, z: int, k: int) -> Region | None:
        """Where on slice z outlines may speak for object k; None if they do nowhere."""
        return None if self.outlines is None else self.outlines.likely(z, k)
