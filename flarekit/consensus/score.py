"""How far several models agree on a case: Dice of each one's mask against their consensus (paper, section 2.2).

The consensus is the class with the highest sum of the models' probabilities. Deviations from the authors' code:
Dice instead of IoU, over the whole case instead of thirds of it, and an organ that neither a model nor the
consensus shows is left out instead of counting as perfect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flarekit.evaluation import Overlap


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Scores of M models on n organs of one case; NaN where neither the model nor the consensus shows the organ."""

    dice: np.ndarray  # float64 (M, n)

    @property
    def mean(self) -> float | None:
        """The case's score: the mean over all models and organs that count; None when none does."""
        return _mean(self.dice)

    def of_model(self, model: int) -> float | None:
        """A model's mean over the organs that count."""
        return _mean(self.dice[model])

    def of_organ(self, organ: int) -> float | None:
        """An organ's mean (0-based) over the models that count."""
        return _mean(self.dice[:, organ])


class AgreementCounter:
    """Voxels counted slice by slice, so that no model's mask is ever held whole."""

    def __init__(self, models: int, organs: int) -> None:
        nothing = np.zeros(organs, dtype=np.int64)
        self._overlaps = [Overlap(predicted=nothing, true=nothing, both=nothing)] * models

    def add(self, masks: Sequence[np.ndarray], consensus: np.ndarray) -> None:
        """Every model's classes (H, W) uint8 of one slice, and the consensus of the same slice."""
        pairs = zip(self._overlaps, masks, strict=True)
        self._overlaps = [known + Overlap.of(mask, consensus, len(known.true)) for known, mask in pairs]

    def agreement(self) -> Agreement:
        """Dice of the slices added so far, background left out."""
        shown = [overlap.predicted + overlap.true > 0 for overlap in self._overlaps]
        dice = [overlap.dice for overlap in self._overlaps]
        return Agreement(dice=np.where(shown, dice, np.nan))


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """A case labelled by several models."""

    classes: np.ndarray  # uint8 (Z, H, W), the consensus
    agreement: Agreement


def vote(probabilities: Sequence[Tensor]) -> tuple[list[np.ndarray], np.ndarray]:
    """Each model's classes and the consensus, uint8 (H, W), from probabilities (C, H, W) on the same pixels."""
    masks = [_classes(planes) for planes in probabilities]
    return masks, _classes(torch.stack(tuple(probabilities)).sum(dim=0))


def _classes(planes: Tensor) -> np.ndarray:
    return planes.argmax(dim=0).to(torch.uint8).cpu().numpy()


def _mean(values: np.ndarray) -> float | None:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else None
