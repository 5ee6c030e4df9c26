"""Channels as networks trained on photographs had them."""

from __future__ import annotations

import torch
from torch import Tensor

from flarekit.config.preprocessing import NORMALISATIONS, PreprocessingConfig


def normalised(images: Tensor, config: PreprocessingConfig) -> Tensor:
    """float32 (..., C, h, w): channels of images in 0..1 less their means, over their deviations, where asked for."""
    statistics = NORMALISATIONS[config.normalisation]
    if statistics is None:
        return images
    mean, deviation = (torch.tensor(values)[:, None, None] for values in statistics)
    return (images - mean) / deviation
