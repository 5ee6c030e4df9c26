"""A running average of the weights over the iterations, which is judged, kept and published in their place.

An exponential moving average: the newest weights count for 1 - decay. Averages of the iterates of a stochastic
descent converge faster than these (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992); of networks they are better
and change less from one validation to the next (Tarvainen and Valpola, NeurIPS 2017, whose teacher is one). As there,
and in TensorFlow's ExponentialMovingAverage, the decay is lower at first, so that random weights are soon forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a module's parameters and statistics. `decay` lies between 0 and 1."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._own = module.state_dict()  # shares memory with the module
        self._average = {name: tensor.clone() for name, tensor in self._own.items()}

    @torch.no_grad()
    def update(self, iterations: int) -> None:
        """Take in the module's tensors after so many iterations."""
        decay = min(self.decay, (1 + iterations) / (10 + iterations))
        for name, average in self._average.items():
            if average.is_floating_point():
                average.lerp_(self._own[name], 1 - decay)
            else:  # counts of batches
                average.copy_(self._own[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the module holds the average; afterwards its own tensors again, bit for bit."""
        kept = {name: tensor.clone() for name, tensor in self._own.items()}
        self.put()
        try:
            yield
        finally:
            _copy(kept, self._own)

    def put(self) -> None:
        """Put the average into the module for good."""
        _copy(self._average, self._own)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, by the names of the module's tensors."""
        return self._average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from an average. Raises KeyError or RuntimeError for that of another module."""
        _copy({name: state[name] for name in self._average}, self._average)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
