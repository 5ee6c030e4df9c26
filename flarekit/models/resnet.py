"""ResNets to stride 16 with BatchNorm, their convolutions with or without bias, as STCN's encoders use them.

He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385; the stride of a bottleneck sits
in its 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet-18)."""

    EXPANSION = 1

    def __init__(self, inputs: int, width: int, stride: int, *, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(y)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut (ResNet-50)."""

    EXPANSION = 4

    def __init__(self, inputs: int, width: int, stride: int, *, bias: bool) -> None:
        super().__init__()
        outputs = width * self.EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=bias)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=bias)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=bias)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.shortcut(x) + self.norm3(self.conv3(y)))


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(nn.Module):
    """Features at strides 4, 8 and 16; `channels` says how many each has."""

    def __init__(self, block: str, units: tuple[int, ...], width: int, *, inputs: int, bias: bool = True) -> None:
        super().__init__()
        kind = BLOCKS[block]
        self.channels = tuple(width * factor * kind.EXPANSION for factor in (1, 2, 4))
        f4, f8, _ = self.channels
        self.conv1 = nn.Conv2d(inputs, width, 7, stride=2, padding=3, bias=bias)
        self.norm1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage4 = _stage(kind, width, width, units[0], stride=1, bias=bias)
        self.stage8 = _stage(kind, f4, 2 * width, units[1], stride=2, bias=bias)
        self.stage16 = _stage(kind, f8, 4 * width, units[2], stride=2, bias=bias)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.stage4(self.pool(F.relu(self.norm1(self.conv1(x)))))
        f8 = self.stage8(f4)
        return f4, f8, self.stage16(f8)


def _shortcut(inputs: int, outputs: int, stride: int, *, bias: bool) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias), nn.BatchNorm2d(outputs))


def _stage(
    kind: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, units: int, *, stride: int, bias: bool
) -> nn.Sequential:
    outputs = width * kind.EXPANSION
    rest = (kind(outputs, width, 1, bias=bias) for _ in range(units - 1))
    return nn.Sequential(kind(inputs, width, stride, bias=bias), *rest)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
