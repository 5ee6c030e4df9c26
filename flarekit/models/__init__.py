"""The three networks, built from their configurations with random weights."""

from __future__ import annotations

from typing import overload

from flarekit.config.architecture import DeepLabConfig, STCNConfig, TransUNetConfig
from flarekit.models.deeplabv3plus import DeepLabV3Plus
from flarekit.models.flops import StepCost, count_parameters, parameters_by_part, step_costs
from flarekit.models.stcn import STCN, DecoderSkips, KeyFeatures, aggregate
from flarekit.models.transunet import TransUNet

NetworkConfig = TransUNetConfig | DeepLabConfig | STCNConfig
Network = TransUNet | DeepLabV3Plus | STCN

# By the same names as flarekit.config.architecture.CONFIGS.
MODELS: dict[str, type[Network]] = {"transunet": TransUNet, "deeplabv3plus": DeepLabV3Plus, "stcn": STCN}


@overload
def build(config: TransUNetConfig) -> TransUNet: ...
@overload
def build(config: DeepLabConfig) -> DeepLabV3Plus: ...
@overload
def build(config: STCNConfig) -> STCN: ...
def build(config: NetworkConfig) -> Network:
    """A network with random weights from its configuration. Raises TypeError on any other type."""
    match config:
        case TransUNetConfig():
            return TransUNet(config)
        case DeepLabConfig():
            return DeepLabV3Plus(config)
        case STCNConfig():
            return STCN(config)
    raise TypeError(f"no network is built from {type(config).__name__}")


__all__ = [
    "MODELS",
    "STCN",
    "DecoderSkips",
    "DeepLabV3Plus",
    "KeyFeatures",
    "Network",
    "NetworkConfig",
    "StepCost",
    "TransUNet",
    "aggregate",
    "build",
    "count_parameters",
    "parameters_by_part",
    "step_costs",
]
