"""EfficientNets and MobileNetV3s as timm lays them out, without timm: importing it takes longer than a slice.

Tan and Le, "EfficientNet", arXiv:1905.11946, table 1; Howard et al., "Searching for MobileNetV3", arXiv:1905.02244,
tables 1 and 2. Names of modules, order and arithmetic are timm's (`efficientnet_b3`, `mobilenetv3_small_100`), so
that its weights fit; the classifier, which nobody needs here, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

Activation = Callable[[], nn.Module]


class Row(NamedTuple):
    """Blocks alike but for the first one's inputs and stride; rows of one stage differ in more."""

    blocks: int
    kernel: int
    stride: int
    expansion: float
    channels: int
    squeezed: bool = True  # squeeze and excitation
    activation: Activation | None = None  # the family's own without one


Stage = tuple[Row, ...]
_EFFICIENTNET: tuple[Stage, ...] = (
    (Row(1, 3, 1, 1, 16),),
    (Row(2, 3, 2, 6, 24),),
    (Row(2, 5, 2, 6, 40),),
    (Row(3, 3, 2, 6, 80),),
    (Row(3, 5, 1, 6, 112),),
    (Row(4, 5, 2, 6, 192),),
    (Row(1, 3, 1, 6, 320),),
)
_SMALL: tuple[Stage, ...] = (
    (Row(1, 3, 2, 1, 16, True, nn.ReLU),),
    (Row(1, 3, 2, 4.5, 24, False, nn.ReLU), Row(1, 3, 1, 3.67, 24, False, nn.ReLU)),
    (Row(1, 5, 2, 4, 40), Row(2, 5, 1, 6, 40)),
    (Row(2, 5, 1, 3, 48),),
    (Row(3, 5, 2, 6, 96),),
)
_LARGE: tuple[Stage, ...] = (
    (Row(1, 3, 1, 1, 16, False, nn.ReLU),),
    (Row(1, 3, 2, 4, 24, False, nn.ReLU), Row(1, 3, 1, 3, 24, False, nn.ReLU)),
    (Row(3, 5, 2, 3, 40, True, nn.ReLU),),
    (Row(1, 3, 2, 6, 80, False), Row(1, 3, 1, 2.5, 80, False), Row(2, 3, 1, 2.3, 80, False)),
    (Row(2, 3, 1, 6, 112),),
    (Row(3, 5, 2, 6, 160),),
)


class Family(NamedTuple):
    """What the sizes of a network have in common."""

    stages: tuple[Stage, ...]
    stem: int  # channels after the first convolution
    last: int | None  # channels of a closing stage, one 1x1 convolution
    head: int  # channels before the classifier
    activation: Activation
    gate: Activation  # at the end of squeeze and excitation
    squeezes_inside: bool  # to a quarter of a block's own channels, instead of its inputs'


_FAMILIES = {
    "efficientnet": Family(_EFFICIENTNET, 32, None, 1280, nn.SiLU, nn.Sigmoid, False),
    "mobilenetv3_small": Family(_SMALL, 16, 576, 1024, nn.Hardswish, nn.Hardsigmoid, True),
    "mobilenetv3_large": Family(_LARGE, 16, 960, 1280, nn.Hardswish, nn.Hardsigmoid, True),
}


class Size(NamedTuple):
    """A network of a family."""

    family: str
    width: float  # times its channels
    depth: float = 1.0  # times the blocks of each stage


# By timm's names.
NETWORKS: Mapping[str, Size] = {
    "efficientnet_b0": Size("efficientnet", 1.0, 1.0),
    "efficientnet_b1": Size("efficientnet", 1.0, 1.1),
    "efficientnet_b2": Size("efficientnet", 1.1, 1.2),
    "efficientnet_b3": Size("efficientnet", 1.2, 1.4),
    "efficientnet_b4": Size("efficientnet", 1.4, 1.8),
    "efficientnet_b5": Size("efficientnet", 1.6, 2.2),
    "mobilenetv3_small_050": Size("mobilenetv3_small", 0.5),
    "mobilenetv3_small_075": Size("mobilenetv3_small", 0.75),
    "mobilenetv3_small_100": Size("mobilenetv3_small", 1.0),
    "mobilenetv3_large_100": Size("mobilenetv3_large", 1.0),
}


class NormAct(nn.BatchNorm2d):
    """BatchNorm and, where there is one, an activation."""

    def __init__(self, channels: int, activation: Activation | None = None) -> None:
        super().__init__(channels)
        self.act = nn.Identity() if activation is None else activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class SqueezeExcite(nn.Module):
    """Channels weighed by what the whole slice shows of them."""

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act1 = activation()
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True)))))


class SeparableBlock(nn.Module):
    """A depthwise and a 1x1 convolution: the first block, which does not expand."""

    def __init__(self, row: Row, inputs: int, outputs: int, family: Family) -> None:
        super().__init__()
        self.conv_dw = _depthwise(inputs, row.kernel, row.stride)
        self.bn1 = NormAct(inputs, row.activation or family.activation)
        self.se = _squeeze_excite(row, inputs, family)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = NormAct(outputs)
        self.has_skip = row.stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv_pw(self.se(self.bn1(self.conv_dw(x)))))
        return x + y if self.has_skip else y


class InvertedResidual(nn.Module):
    """Channels expanded, convolved depthwise, weighed, and brought back."""

    def __init__(self, row: Row, inputs: int, outputs: int, family: Family) -> None:
        super().__init__()
        middle, activation = _rounded(inputs * row.expansion), row.activation or family.activation
        self.conv_pw = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = NormAct(middle, activation)
        self.conv_dw = _depthwise(middle, row.kernel, row.stride)
        self.bn2 = NormAct(middle, activation)
        self.se = _squeeze_excite(row, middle, family)
        self.conv_pwl = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = NormAct(outputs)
        self.has_skip = row.stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv_pwl(self.se(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x)))))))
        return x + y if self.has_skip else y


class ConvBlock(nn.Module):
    """The closing 1x1 convolution of a MobileNetV3."""

    def __init__(self, inputs: int, outputs: int, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = NormAct(outputs, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv(x))


class Trunk(nn.Module):
    """The layers of a network in `NETWORKS`, with random weights: parts to build an encoder of.

    `feature_info` says, as timm's does, which stage is the last one at each stride, and its channels.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        size = NETWORKS[name]
        family = _FAMILIES[size.family]
        stem = family.stem if size.width < 0.75 and family.last else _rounded(family.stem * size.width)
        self.conv_stem = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False)
        self.bn1 = NormAct(stem, family.activation)
        stages, channels, stride, self.feature_info = [], stem, 2, list[dict[str, Any]]()
        for rows in family.stages:
            stages.append(nn.Sequential(*_blocks(rows, channels, size, family)))
            channels, stride = _rounded(rows[-1].channels * size.width), stride * rows[0].stride
            self._say(stride, len(stages) - 1, channels)
        if family.last:
            before, channels = channels, _rounded(family.last * size.width)
            stages.append(nn.Sequential(ConvBlock(before, channels, family.activation)))
            self._say(stride, len(stages) - 1, channels)
        self.blocks = nn.Sequential(*stages)
        head = family.head if family.last else _rounded(family.head * size.width)
        self.conv_head = nn.Conv2d(channels, head, 1, bias=bool(family.last))
        if not family.last:
            self.bn2 = NormAct(head, family.activation)
        self.apply(_initialise)

    def _say(self, stride: int, stage: int, channels: int) -> None:
        self.feature_info = [level for level in self.feature_info if level["reduction"] != stride]
        self.feature_info.append({"module": f"blocks.{stage}", "num_chs": channels, "reduction": stride})


def _blocks(rows: Stage, inputs: int, size: Size, family: Family) -> Iterator[nn.Module]:
    for place, row in enumerate(rows):
        outputs = _rounded(row.channels * size.width)
        for number in range(math.ceil(row.blocks * size.depth)):
            first = place == 0 and number == 0
            kind = SeparableBlock if row.expansion == 1 else InvertedResidual
            yield kind(row if first else row._replace(stride=1), inputs, outputs, family)
            inputs = outputs


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride=stride, padding=kernel // 2, groups=channels, bias=False)


def _squeeze_excite(row: Row, channels: int, family: Family) -> nn.Module:
    if not row.squeezed:
        return nn.Identity()
    if family.squeezes_inside:
        return SqueezeExcite(channels, _rounded(channels / 4), nn.ReLU, family.gate)
    return SqueezeExcite(channels, round(channels / row.expansion / 4), family.activation, family.gate)


def _rounded(channels: float) -> int:
    """A multiple of 8, not more than a tenth below."""
    whole = max(8, int(channels + 4) // 8 * 8)
    return whole + 8 if whole < 0.9 * channels else whole


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
