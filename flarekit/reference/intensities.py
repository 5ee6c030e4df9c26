"""HU of the organs as the reference module sees them in a case, and what they make of its masks.

Networks that learned from other scanners and contrasts draw borders where theirs would be. What they are sure of shows
which HU each organ has in this case, and what lies around it (`flarekit.data.intensities`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from flarekit.config.intensities import IntensityConfig
from flarekit.data.grid import NetworkGrid
from flarekit.data.intensities import binned, counted, log_odds, nothing_counted
from flarekit.data.regions import around
from flarekit.reference.evidence import SliceEvidence
from flarekit.volumes import Volume

SURE = 0.8  # winning probability from which a pixel shows an organ's HU
COUNTED_MM = 1.5  # pixels are counted this far apart, where they are closer
FLOOR = 1e-4  # smallest probability in a logarithm


class SeenIntensities:
    """Counts HU in and around the organs of the slices that were seen, and settles borders by them.

    Of each slice the probabilities are kept, as float16 and of classes that may still win.
    """

    def __init__(self, volume: Volume, grid: NetworkGrid, classes: int, config: IntensityConfig) -> None:
        self._hu, self._pixel_mm, self._grid, self._config = volume.array, volume.spacing_mm[1:], grid, config
        self._seen = [nothing_counted() for _ in range(classes)]
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}  # candidates (c,) and their probabilities (c, h, w), by slice

    def add(self, z: int, probabilities: Tensor, classes: np.ndarray, winning: np.ndarray) -> None:
        """Slice z: probabilities (C, h, w) on the network's grid; classes and winning probabilities, native (H, W)."""
        least = 1 / (1 + len(probabilities) * np.exp(2 * self._config.limit))
        (candidates,) = torch.nonzero(probabilities.flatten(1).amax(1) >= least, as_tuple=True)
        self._kept[z] = candidates.cpu(), probabilities[candidates].half().cpu()
        organs = np.unique(classes[classes > 0])
        if len(organs):
            bins = self._binned(z)
            for organ in organs:
                self._seen[organ] += self._counted(bins, classes == organ, winning)

    def settled(self, slices: Sequence[int]) -> Iterator[tuple[SliceEvidence, Tensor]]:
        """Slices that were added, as the HU of all of them settle it: evidence and probabilities (C, H, W)."""
        odds = np.stack([log_odds(seen, self._config) for seen in self._seen])  # the background's are 0
        return (self._settled(z, odds) for z in slices)

    def _settled(self, z: int, odds: np.ndarray) -> tuple[SliceEvidence, Tensor]:
        candidates, kept = self._kept[z]
        native = self._grid.from_network(kept.float()[None])[0].clamp_min(FLOOR).log()
        native += torch.from_numpy(odds[candidates.numpy()][:, self._binned(z)])
        probabilities = torch.zeros(len(odds), *native.shape[1:])
        probabilities[candidates] = native.softmax(dim=0)
        winning, classes = probabilities.max(dim=0)
        return SliceEvidence.won(z, classes, winning, probabilities.flatten(1).amax(1)), probabilities

    def _binned(self, z: int) -> np.ndarray:
        return binned(self._hu[z], self._pixel_mm, self._config)

    def _counted(self, bins: np.ndarray, mask: np.ndarray, winning: np.ndarray) -> np.ndarray:
        """Histograms of one organ's surest pixels, and of the pixels around it, on a coarse lattice."""
        from scipy.ndimage import distance_transform_edt

        steps = [max(1, int(COUNTED_MM // spacing)) for spacing in self._pixel_mm]
        lattice = tuple(slice(None, None, step) for step in steps)
        coarse_mm = [step * spacing for step, spacing in zip(steps, self._pixel_mm, strict=True)]
        mask = mask[lattice]
        if not mask.any():
            return nothing_counted()
        region = around(mask, [int(np.ceil(self._config.around_mm / mm)) for mm in coarse_mm])
        mask = mask[region]
        away_mm = distance_transform_edt(~mask, coarse_mm)
        sure = mask & (winning[lattice][region] >= SURE)
        return counted(bins[lattice][region], sure, (away_mm > 0) & (away_mm <= self._config.around_mm))
