"""One answer from two directions, and how sure it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOOR = 1e-4  # smallest probability in a logarithm: one direction's certainty alone does not decide


def fuse(below: Tensor, above: Tensor, distances_mm: tuple[float, float], fusion_mm: float) -> Tensor:
    """Probabilities (K+1, h, w) of both directions as one, background included.

    Log-probabilities are averaged with weights exp(-distance / fusion_mm) x confidence that sum to 1 at every pixel;
    the distances are those to the annotated slice each direction came from, a direction's confidence is its largest
    probability there.
    """
    difference_mm = distances_mm[1] - distances_mm[0]
    odds = math.exp(max(-50.0, min(50.0, difference_mm / fusion_mm)))
    nearer = odds * below.amax(dim=0) / above.amax(dim=0)
    weight = nearer / (1 + nearer)
    logits = weight * below.clamp_min(FLOOR).log() + (1 - weight) * above.clamp_min(FLOOR).log()
    return logits.softmax(dim=0)


def winners(planes: Tensor) -> Tensor:
    """(h, w) int64: the first of the largest planes (n, h, w), one by one as argmax is slow across planes."""
    index, best = torch.zeros(planes.shape[1:], dtype=torch.int64, device=planes.device), planes[0]
    for row in range(1, len(planes)):
        index = torch.where(planes[row] > best, row, index)
        best = torch.maximum(best, planes[row])
    return index


def confidence(probabilities: Tensor) -> Tensor:
    """(K,) in 0..1 from probabilities (K+1, h, w), background first.

    Where an object is, the mean of its probability over the pixels it takes; where it is not, how far its
    largest probability stays below 1.
    """
    labels = torch.arange(1, len(probabilities), device=probabilities.device)
    taken = winners(probabilities) == labels[:, None, None]
    own = probabilities[1:]
    pixels = taken.sum(dim=(1, 2))
    inside = (own * taken).sum(dim=(1, 2)) / pixels.clamp_min(1)
    return torch.where(pixels > 0, inside, 1 - own.amax(dim=(1, 2)))
