"""How unsure a prediction is of every pixel: the entropy of its probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """float32 (H, W) in 0..1: 0 where one class is certain, 1 where all of them are equally likely.

    `probabilities` (C, H, W) sum to one over C, two classes at least. The entropy -sum p ln p is divided by ln C,
    so that maps of different label sets mean the same; a class of probability 0 adds nothing.
    Raises ValueError for fewer than two classes, of which nothing can be uncertain.
    """
    classes = len(probabilities)
    if classes < 2:
        raise ValueError(f"an entropy is over two classes at least, got {classes}")
    total = torch.zeros(probabilities.shape[1:], dtype=torch.float32, device=probabilities.device)
    for plane in probabilities:  # one by one: the memory of a few planes, whatever the number of classes
        total += torch.special.entr(plane.float().clamp_min(0))
    return (total / math.log(classes)).clamp_(0, 1)
