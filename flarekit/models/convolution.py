"""The 3x3 convolution that STCN's value encoder and decoder are made of, in the fastest way there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flarekit.ops.winograd import FEWEST_CHANNELS, transformed_weight, winograd_conv3x3


class _Kept(NamedTuple):
    """A transformed weight, and what it was made from."""

    weight: Tensor  # held on to, so that no other weight comes to lie at its address
    version: int  # how often it had been written to
    transformed: Tensor

    def is_of(self, weight: Tensor) -> bool:
        return self.weight.data_ptr() == weight.data_ptr() and self.version == weight._version


class Conv3x3(nn.Conv2d):
    """A padded 3x3 convolution; without gradients, on a CPU and in float32, wide ones are Winograd's.

    Transformed weights are kept, four times the size of the weight, until it changes or moves; no copy or file
    holds them. Writing through `weight.data` is not seen: write to the weight under `torch.no_grad()`.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self._transformed: dict[tuple[int, int], _Kept] = {}  # by the first input and their number

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x, self.weight, 0, self.bias)

    def of_inputs(self, x: Tensor, first: int, *, bias: bool) -> Tensor:
        """The terms (B, outputs, H, W) of the inputs x (B, n, H, W) from number `first` on, biases in or not."""
        weight = self.weight[:, first : first + x.shape[1]]
        return self._convolved(x, weight, first, self.bias if bias else None)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_transformed": {}}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._transformed.clear()
        return super()._apply(fn, recurse)

    def _convolved(self, x: Tensor, weight: Tensor, first: int, bias: Tensor | None) -> Tensor:
        if self.weight.is_inference() or not _winograd_pays(x, weight):  # whose changes are not counted
            return F.conv2d(x, weight, bias, padding=1)
        return winograd_conv3x3(x, self._transformed_weight(weight, first), bias)

    def _transformed_weight(self, weight: Tensor, first: int) -> Tensor:
        inputs = first, weight.shape[1]
        kept = self._transformed.get(inputs)
        if kept is None or not kept.is_of(self.weight):
            own = self.weight.detach()
            kept = self._transformed[inputs] = _Kept(own, own._version, transformed_weight(weight))
        return kept.transformed


def _winograd_pays(x: Tensor, weight: Tensor) -> bool:
    """Whether it may be used, and gains: gradients, other devices and other precisions have better ways."""
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel() > 0
    lowered = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    return plain and not lowered and not torch.is_grad_enabled() and min(weight.shape[:2]) >= FEWEST_CHANNELS
