"""What the annotated slices say of the others: their masks carried once from all of them, and once from either half.

Of the annotated slices every second one goes to one half, so that the nearest ones below and above a slice lie in
different halves: where the halves disagree, so do the two directions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.models import STCN
from flarekit.propagation import fill_slices
from flarekit.propagation.views import Views
from flarekit.volumes import Volume

Annotated = Mapping[int, np.ndarray]  # classes (H, W) uint8 by slice number: 0 background, object k is k + 1


@dataclass(frozen=True, kw_only=True)
class Carried:
    """K objects on the slices that were looked at, the annotated ones among them."""

    slices: tuple[int, ...]  # ascending, S of them
    area_px: np.ndarray  # (K, S) int64
    disagreement: np.ndarray  # (K, S) in 0..1; NaN where a half does not know the object
    confidence: np.ndarray  # (K, S) in 0..1


class Carrier:
    """Carries annotated slices through one CT; each slice is looked at once, however often masks are carried."""

    def __init__(self, image: Volume, model: Loaded, config: PropagationConfig, device: torch.device) -> None:
        network = model.networks["stcn"].to(device).eval()
        assert isinstance(network, STCN)
        self._network, self._config = network, config
        self._slices = VolumeSlices(image, model.card.preprocessing)
        self._views = Views(network, self._slices, config.views_mb)

    def masks(self, annotated: Annotated, objects: int, only: Collection[int]) -> dict[int, np.ndarray]:
        """Classes (H, W) of the annotated slices and of those in `only`."""
        return {z: classes for z, (classes, _) in self._fill(annotated, objects, only).items()}

    def look(self, annotated: Annotated, objects: int, only: Collection[int], *, areas: np.ndarray | None) -> Carried:
        """What is carried to the slices in `only`; areas (K, Z) that are known already are not found again."""
        order = sorted(annotated)
        slices = tuple(sorted({*only, *order}))
        halves = [
            self._fill({z: annotated[z] for z in half}, objects, slices) if half else {}
            for half in (order[::2], order[1::2])
        ]
        known = [_shown(annotated, half, objects) for half in (order[::2], order[1::2])]
        disagreement = np.full((objects, len(slices)), np.nan)
        if all(halves):
            apart = np.array([1 - _dice(halves[0][z][0], halves[1][z][0], objects) for z in slices]).T
            disagreement[known[0] & known[1]] = apart[known[0] & known[1]]
        if areas is not None:
            confidence = np.full_like(disagreement, np.nan)
            return Carried(slices=slices, area_px=areas[:, slices], disagreement=disagreement, confidence=confidence)
        filled = self._fill(annotated, objects, only) if all(halves) else halves[0]
        return Carried(
            slices=slices,
            area_px=np.array([object_px(filled[z][0], objects) for z in slices]).T,
            disagreement=disagreement,
            confidence=np.array([filled[z][1] for z in slices], dtype=float).T,
        )

    def _fill(
        self, annotated: Annotated, objects: int, only: Collection[int]
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Classes and confidences of the annotated slices and of those in `only`."""
        results = fill_slices(
            self._network, self._slices, annotated, objects, self._config, only=frozenset(only), views=self._views
        )
        return {result.z: (result.classes, result.confidence) for result in results}


def object_px(classes: np.ndarray, objects: int) -> np.ndarray:
    """(K,) int64: pixels of each object."""
    return np.bincount(classes.ravel(), minlength=objects + 1)[1 : objects + 1]


def _shown(annotated: Annotated, slices: Collection[int], objects: int) -> np.ndarray:
    return np.sum([object_px(annotated[z], objects) for z in slices], axis=0, initial=0) > np.zeros(objects)


def _dice(first: np.ndarray, second: np.ndarray, objects: int) -> np.ndarray:
    """(K,) Dice of each object; 1 where neither shows it."""
    total = object_px(first, objects) + object_px(second, objects)
    both = object_px(first[first == second], objects)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)
