"""Stand-ins for a CT and for an STCN whose answers can be foreseen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flarekit.models import DecoderSkips, KeyFeatures


class Stack:
    """Slices that are given as one tensor (Z, 3, h, w)."""

    spacing_z_mm = 2.0

    def __init__(self, images: Tensor) -> None:
        self.stack, self.seen = images, []

    def __len__(self) -> int:
        return len(self.stack)

    def images(self, slices: Sequence[int]) -> Tensor:
        self.seen += slices
        return self.stack[list(slices)]


class Matcher(nn.Module):
    """An STCN whose key is the colour of a 16-pixel patch and whose value is the mask on it."""

    values_are_local = True

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def encode_key(self, image: Tensor) -> KeyFeatures:
        key = nn.functional.avg_pool2d(image, 16) * self.scale
        return KeyFeatures(key, key, key, key, key)

    def encode_value(self, image: Tensor, f16: Tensor, mask: Tensor, others: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(mask, 16)

    def decode_skips(self, features: KeyFeatures) -> DecoderSkips:
        double, fourfold = (nn.functional.interpolate(features.key, scale_factor=s) for s in (2, 4))
        return DecoderSkips((features.key, features.key), double, fourfold)

    def decode(self, readout: Tensor, features: DecoderSkips) -> Tensor:
        assert features.skip4.shape[-2:] == tuple(4 * side for side in readout.shape[-2:])
        return nn.functional.interpolate((readout - 0.5) * 20, scale_factor=16, mode="nearest")
