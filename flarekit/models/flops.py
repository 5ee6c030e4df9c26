"""What a network costs: parameters by part and operations by step. A multiply-accumulate is two FLOPs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flarekit.models.deeplabv3plus import DeepLabV3Plus
from flarekit.models.stcn import STCN
from flarekit.models.transunet import TransUNet


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Operations of one step of inference on one slice: convolutions and matrix products, nothing else."""

    step: str  # what is done, and how often where that is not once a slice
    gmacs: float  # 10^9 multiply-accumulates

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations, two a multiply-accumulate."""
        return 2 * self.gmacs


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values, those of unused layers included."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameters_by_part(network: TransUNet | DeepLabV3Plus | STCN) -> dict[str, int]:
    """Number of parameters of each part; the parts sum to the whole."""
    return {name: count_parameters(part) for name, part in network.parts().items()}


def step_costs(network: TransUNet | DeepLabV3Plus | STCN, height: int, width: int) -> tuple[StepCost, ...]:
    """Costs of a network's steps on a slice of height x width pixels, found by following shapes alone.

    Reading STCN's memory is not among them: its cost depends on the memory and on how it is read.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    image = torch.empty(1, 3, height, width, device="meta")
    if isinstance(shadow, STCN):
        return _stcn_costs(shadow, image)
    position = torch.empty(1, device="meta")
    return (StepCost(step="slice", gmacs=_gmacs(lambda: shadow(image, position))),)


def _stcn_costs(network: STCN, image: Tensor) -> tuple[StepCost, ...]:
    features = network.encode_key(image)
    skips = network.decode_skips(features)
    mask = image[:, :1]
    readout = torch.empty_like(features.f16_thin)
    share = network.value_encoder.fuse.share
    value_gmacs = _gmacs(lambda: network.encode_value(image, features.f16, mask, mask))
    shared_gmacs = _gmacs(lambda: share(features.f16))
    return (
        StepCost(step="key", gmacs=_gmacs(lambda: network.encode_key(image))),
        StepCost(step="value, shared by objects", gmacs=shared_gmacs),
        StepCost(step="value, each object", gmacs=value_gmacs - shared_gmacs),
        StepCost(step="decoder, shared by objects", gmacs=_gmacs(lambda: network.decode_skips(features))),
        StepCost(step="decoder, each object", gmacs=_gmacs(lambda: network.decode(readout, skips))),
    )


def _gmacs(call: Callable[[], object]) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton, which nothing else on a CPU needs

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9
