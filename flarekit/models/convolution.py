"""The 3x3 convolution that STCN's value encoder and decoder are made of, in the fastest way there is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flarekit.ops.winograd import FEWEST_CHANNELS, transformed_weight, winograd_conv3x3


class Conv3x3(nn.Conv2d):
    """A padded 3x3 convolution; without gradients, on a CPU and in float32, wide ones are Winograd's.

    Transformed weights are kept, four times the size of the weight, until it changes.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self._transformed: dict[tuple[int, int], tuple[tuple[int, int], Tensor]] = {}  # by inputs: of what, result

    def forward(self, x: Tensor) -> Tensor:
        return self.of_inputs(x, 0, bias=True)

    def of_inputs(self, x: Tensor, first: int, *, bias: bool) -> Tensor:
        """The terms (B, outputs, H, W) of the inputs x (B, n, H, W) from number `first` on, biases in or not."""
        weight = self.weight[:, first : first + x.shape[1]]
        added = self.bias if bias else None
        if self.weight.is_inference() or not _winograd_pays(x, weight):  # whose changes are not counted
            return F.conv2d(x, weight, added, padding=1)
        return winograd_conv3x3(x, self._transformed_weight(weight, first), added)

    def _transformed_weight(self, weight: Tensor, first: int) -> Tensor:
        inputs, own = (first, weight.shape[1]), (self.weight.data_ptr(), self.weight._version)
        kept = self._transformed.get(inputs)
        if kept is None or kept[0] != own:
            kept = self._transformed[inputs] = own, transformed_weight(weight)
        return kept[1]


def _winograd_pays(x: Tensor, weight: Tensor) -> bool:
    """Whether it may be used, and gains: gradients, other devices and other precisions have better ways."""
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    lowered = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    return plain and not lowered and not torch.is_grad_enabled() and min(weight.shape[:2]) >= FEWEST_CHANNELS
