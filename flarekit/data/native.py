"""From a network's probabilities to classes on the pixels of the slice they belong to."""

from __future__ import annotations

import torch
from torch import Tensor

from flarekit.data.grid import NetworkGrid


def native_classes(probabilities: Tensor, grid: NetworkGrid) -> tuple[Tensor, Tensor]:
    """The winning class, uint8 (H, W), and its probability, float32 (H, W), from probabilities (C, h, w).

    Probabilities sum to one over C and still do once interpolated, so that a class whose peak lies below 1/C
    wins nowhere: only the others are interpolated, which changes nothing but the time.
    """
    peaks = probabilities.flatten(1).amax(1)
    (candidates,) = torch.nonzero(peaks >= 1.0 / len(probabilities) - 1e-6, as_tuple=True)
    native = grid.from_network(probabilities[candidates][None])[0]
    winning, index = native.max(0)
    return candidates.to(torch.uint8)[index], winning
