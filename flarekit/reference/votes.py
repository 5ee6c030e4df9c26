"""How far the networks of a reference module agree: what each of them would have drawn by itself.

Networks that learned apart err apart, so that where an image is like none they know, they see different things in it.
Their common probability alone does not show that once a mask has been carried to other slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor


class Votes:
    """Counts what the networks draw, slice by slice; a slice that is added twice counts twice."""

    def __init__(self, classes: int) -> None:
        self._drawn = np.zeros(classes, dtype=np.int64)  # pixels of each class, of both networks of every pair
        self._alike = np.zeros(classes, dtype=np.int64)  # pixels that both networks of a pair give to the class
        self._compared = False

    def add(self, probabilities: Sequence[Tensor]) -> None:
        """Slices as each of the networks sees them: probabilities (B, C, h, w), C as at the start."""
        winners = [planes.argmax(dim=1) for planes in probabilities]
        for one, other in combinations(winners, 2):
            self._drawn += self._counted(one) + self._counted(other)
            self._alike += self._counted(one[one == other])
            self._compared = True

    @property
    def agreement(self) -> np.ndarray | None:
        """float64 (C,) in 0..1: Dice of two networks' drawings of each class, of all pairs; None for one network.

        Nobody agrees on what none of them draws, although their sum may: it is 0 there.
        """
        return 2 * self._alike / np.maximum(self._drawn, 1) if self._compared else None

    def _counted(self, classes: Tensor) -> np.ndarray:
        return torch.bincount(classes.flatten(), minlength=len(self._drawn)).cpu().numpy()
