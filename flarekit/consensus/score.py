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

    def __init__(self, models: int, classes: int) -> None:
        self._shared = np.zeros((models, classes), dtype=np.int64)
        self._model = np.zeros((models, classes), dtype=np.int64)
        self._consensus = np.zeros(classes, dtype=np.int64)

    def add(self, masks: Sequence[np.ndarray], consensus: np.ndarray) -> None:
        """Every model's classes (H, W) uint8 of one slice, and the consensus of the same slice."""
        classes = len(self._consensus)
        self._consensus += np.bincount(consensus.ravel(), minlength=classes)
        for index, mask in enumerate(masks):
            self._model[index] += np.bincount(mask.ravel(), minlength=classes)
            self._shared[index] += np.bincount(mask[mask == consensus], minlength=classes)

    def agreement(self) -> Agreement:
        """Dice of the slices added so far, background left out."""
        total = (self._model + self._consensus)[:, 1:]
        shared = 2.0 * self._shared[:, 1:]
        return Agreement(dice=np.divide(shared, total, out=np.full(total.shape, np.nan), where=total > 0))


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
