"""What the annotated slices say of the others: their masks carried from either half of them.

Of the annotated slices every second one goes to one half, so that the nearest ones below and above a slice lie in
different halves: where the halves disagree, so do the two directions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.models import STCN
from flarekit.models.layout import laid_out_for
from flarekit.propagation import FilledSlice, fill_slices
from flarekit.propagation.views import Views
from flarekit.volumes import Volume

Annotated = Mapping[int, np.ndarray]  # classes (H, W) uint8 by slice number: 0 background, object k is k + 1
Known = Mapping[int, np.ndarray]  # (K,) bool by slice number: the objects that the slice is annotated for


@dataclass(frozen=True, kw_only=True)
class Carried:
    """K objects on the slices that were looked at, the annotated ones among them."""

    slices: tuple[int, ...]  # ascending, S of them
    area_px: np.ndarray  # (K, S) mean of the halves that know the object
    disagreement: np.ndarray  # (K, S) in 0..1; NaN where a half does not know the object
    confidence: np.ndarray  # (K, S) in 0..1, mean of the halves that know the object


@dataclass(frozen=True, kw_only=True)
class _Half:
    """What half of the annotated slices say of S slices."""

    knows: np.ndarray  # (K,) bool: objects that they show
    classes: dict[int, np.ndarray]  # (H, W) uint8 by slice number
    area_px: np.ndarray  # (K, S)
    confidence: np.ndarray  # (K, S)


class Carrier:
    """Carries annotated slices through one CT; each slice is looked at once, however often masks are carried."""

    def __init__(self, image: Volume, model: Loaded, config: PropagationConfig, device: torch.device) -> None:
        network = laid_out_for(model.networks["stcn"].to(device).eval(), device)
        assert isinstance(network, STCN)
        self._network, self._config = network, config
        self._slices = VolumeSlices(image, model.card.preprocessing)
        self._views = Views(network, self._slices, config.views_mb, config.precision)

    def masks(
        self, annotated: Annotated, objects: int, only: Collection[int], *, known: Known | None = None
    ) -> dict[int, np.ndarray]:
        """Classes (H, W) of the annotated slices and of those in `only`; without `known`, slices show every object."""
        known = known or all_known(annotated, objects)
        return {z: filled.classes for z, filled in self._fill(annotated, known, only).items()}

    def look(self, annotated: Annotated, objects: int, only: Collection[int], *, known: Known | None = None) -> Carried:
        """What is carried to the slices in `only`, from either half of the annotated slices; `known` as for `masks`."""
        known = known or all_known(annotated, objects)
        order = sorted(annotated)
        slices = tuple(sorted({*only, *order}))
        halves = [self._half(annotated, half, known, slices) for half in (order[::2], order[1::2]) if half]
        disagreement = np.full((objects, len(slices)), np.nan)
        if len(halves) == 2:
            apart = np.array([1 - _dice(halves[0].classes[z], halves[1].classes[z], objects) for z in slices]).T
            both_know = halves[0].knows & halves[1].knows
            disagreement[both_know] = apart[both_know]
        return Carried(
            slices=slices,
            area_px=np.nan_to_num(_mean_of_those_who_know(halves, [half.area_px for half in halves])),
            disagreement=disagreement,
            confidence=_mean_of_those_who_know(halves, [half.confidence for half in halves]),
        )

    def _half(self, annotated: Annotated, half: Sequence[int], known: Known, slices: Sequence[int]) -> _Half:
        """What these annotated slices alone say of the slices; the annotated ones of the other half are found anew."""
        given = {z: annotated[z] for z in half}
        filled, objects = self._fill(given, known, slices), len(known[half[0]])
        return _Half(
            knows=np.sum([object_px(classes, objects) for classes in given.values()], axis=0) > 0,
            classes={z: filled[z].classes for z in slices},
            area_px=np.array([object_px(filled[z].classes, objects) for z in slices]).T,
            confidence=np.array([filled[z].confidence for z in slices], dtype=float).T,
        )

    def _fill(self, annotated: Annotated, known: Known, only: Collection[int]) -> dict[int, FilledSlice]:
        """The annotated slices, and those in `only`. An object that no slice is annotated for is held to be absent."""
        nowhere = ~np.any([known[z] for z in annotated], axis=0)
        results = fill_slices(
            self._network, self._slices, annotated, len(nowhere), self._config,
            frame_mask={z: known[z] | nowhere for z in annotated}, only=frozenset(only), views=self._views,
        )  # fmt: skip
        return {result.z: result for result in results}


def all_known(annotated: Annotated, objects: int) -> Known:
    """Every annotated slice is annotated for every object."""
    return dict.fromkeys(annotated, np.ones(objects, dtype=bool))


def object_px(classes: np.ndarray, objects: int) -> np.ndarray:
    """(K,) int64: pixels of each object."""
    return np.bincount(classes.ravel(), minlength=objects + 1)[1 : objects + 1]


def _mean_of_those_who_know(halves: Sequence[_Half], values: Sequence[np.ndarray]) -> np.ndarray:
    """(K, S) mean of values (K, S) over the halves that know the object; NaN for an object that neither knows."""
    weights = np.array([half.knows for half in halves], dtype=float)[:, :, None]
    total, known = (weights * np.array(values)).sum(axis=0), weights.sum(axis=0)
    return np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)


def _dice(first: np.ndarray, second: np.ndarray, objects: int) -> np.ndarray:
    """(K,) Dice of each object; 1 where neither shows it."""
    total = object_px(first, objects) + object_px(second, objects)
    both = object_px(first[first == second], objects)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)
