"""Sizes of the three networks; `ARCHITECTURES` holds what `--arch` names. Part of every checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from flarekit.config import require

FLARE22_CLASSES = 14  # 13 organs and background


def _check_classes(classes: int) -> None:
    if not 2 <= classes <= 255:
        raise ValueError(f"classes lie in 2..255 (background included), got {classes}")


def _check_widths(field: str, values: tuple[int, ...], *, length: int) -> None:
    if len(values) != length or min(values) < 1:
        raise ValueError(f"{field} has {length} values of at least 1, got {values}")


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout lies in 0..1 (1 excluded), got {dropout}")


@dataclass(frozen=True, kw_only=True)
class TransUNetConfig:
    """TransUNet (Chen et al. 2021): ResNet, transformer, cascaded upsampler. Raises ValueError."""

    classes: int = FLARE22_CLASSES  # background included
    grid: int = 32  # side of the square token grid that position embeddings are learned on: canvas / 16
    resnet_width: int = 64  # channels after the first convolution; its stages have 4, 8 and 16 times as many
    resnet_units: tuple[int, ...] = (3, 4, 9)  # bottlenecks at strides 4, 8 and 16
    resnet_groups: int = 32  # groups of the ResNet's GroupNorm
    hidden: int = 768  # width of the tokens
    layers: int = 12  # transformer layers
    heads: int = 12  # attention heads of a layer
    mlp: int = 3072  # hidden width of a layer's perceptron
    dropout: float = 0.1  # on embeddings and in the perceptrons
    bridge: int = 512  # channels of the convolution between tokens and upsampler
    decoder: tuple[int, ...] = (256, 128, 64, 16)  # channels after each doubling, to strides 8, 4, 2 and 1

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        require.at_least(1, self, "grid", "resnet_width", "resnet_groups", "bridge")
        require.at_least(1, self, "hidden", "layers", "heads", "mlp")
        _check_widths("resnet_units", self.resnet_units, length=3)
        _check_widths("decoder", self.decoder, length=4)
        _check_dropout(self.dropout)
        if self.hidden % self.heads:
            raise ValueError(f"heads divides hidden, got {self.heads}, {self.hidden}")
        if self.resnet_width % self.resnet_groups:
            raise ValueError(f"resnet_groups divides resnet_width, got {self.resnet_groups}, {self.resnet_width}")


@dataclass(frozen=True, kw_only=True)
class DeepLabConfig:
    """DeepLabV3+ (Chen et al. 2018) on a timm encoder at output stride 16. Raises ValueError."""

    classes: int = FLARE22_CLASSES  # background included
    encoder: str = "efficientnet_b3"  # timm name of a network of the EfficientNet or MobileNetV3 family
    encoder_head: bool = True  # keep its last 1x1 convolution: unused, but published weights have it
    channels: int = 256  # of the pyramid and of the decoder
    skip_channels: int = 48  # of the stride-4 features beside them
    rates: tuple[int, ...] = (12, 24, 36)  # dilations of the pyramid's 3x3 convolutions, in stride-16 pixels
    dropout: float = 0.5  # after the pyramid
    same_padding_for: int | None = None  # pad strided convolutions unevenly, as TensorFlow's "same" padding does for
    # a square image of this side (published EfficientNets); None pads evenly, as timm does
    norm_epsilon: float = 1e-5  # of the encoder's BatchNorm
    dilated_from: int | None = None  # first dilated block, counted through all stages; None: after stride 16

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        require.at_least(1, self, "channels", "skip_channels")
        if self.same_padding_for is not None and self.same_padding_for < 32:
            raise ValueError(f"same_padding_for is at least 32, got {self.same_padding_for}")
        if not 0 < self.norm_epsilon < 1:
            raise ValueError(f"norm_epsilon lies in 0..1, got {self.norm_epsilon}")
        _check_widths("rates", self.rates, length=3)
        _check_dropout(self.dropout)


@dataclass(frozen=True, kw_only=True)
class STCNConfig:
    """STCN (Cheng et al. 2021): key and value encoder, decoder of one object's mask. Raises ValueError."""

    key_block: str = "bottleneck"  # of the key encoder: bottleneck (as ResNet-50) or basic (as ResNet-18)
    key_units: tuple[int, ...] = (3, 4, 6)  # its blocks at strides 4, 8 and 16
    key_width: int = 64  # channels after its first convolution
    key_bias: bool = True  # biases in the key encoder's convolutions
    value_units: tuple[int, ...] = (2, 2, 2)  # basic blocks of the value encoder at strides 4, 8 and 16
    value_width: int = 64  # channels after its first convolution
    value_others: bool = True  # the value encoder sees the other objects' mask, too
    value_attention: bool = False  # channel and spatial attention (CBAM) where it joins object and slice
    key_channels: int = 64  # of a memory key
    value_channels: int = 512  # of a memory value, and of the compressed query features beside a readout
    decoder: tuple[int, ...] = (512, 256, 256)  # channels at strides 16, 8 and 4

    def __post_init__(self) -> None:
        if self.key_block not in ("bottleneck", "basic"):
            raise ValueError(f"key_block is bottleneck or basic, got {self.key_block!r}")
        require.at_least(1, self, "key_width", "value_width", "key_channels", "value_channels")
        _check_widths("key_units", self.key_units, length=3)
        _check_widths("value_units", self.value_units, length=3)
        _check_widths("decoder", self.decoder, length=3)


# By the names that checkpoints and the command line use, which are the fields of Architecture.
CONFIGS: dict[str, type[TransUNetConfig] | type[DeepLabConfig] | type[STCNConfig]] = {
    "transunet": TransUNetConfig,
    "deeplabv3plus": DeepLabConfig,
    "stcn": STCNConfig,
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The networks of both modules at one size."""

    transunet: TransUNetConfig  # reference module
    deeplabv3plus: DeepLabConfig  # reference module
    stcn: STCNConfig  # propagation module, the same for any number of classes

    def for_classes(self, classes: int) -> Architecture:
        """The same sizes for another number of classes, background included. Raises ValueError."""
        return dataclasses.replace(
            self,
            transunet=dataclasses.replace(self.transunet, classes=classes),
            deeplabv3plus=dataclasses.replace(self.deeplabv3plus, classes=classes),
        )


ARCHITECTURES: dict[str, Architecture] = {
    # Tables 2 and 3 of the paper, at 512 x 512.
    "paper": Architecture(transunet=TransUNetConfig(), deeplabv3plus=DeepLabConfig(), stcn=STCNConfig()),
    # STCN as its authors published it, for several objects; the reference networks of the paper beside it.
    "original": Architecture(
        transunet=TransUNetConfig(),
        deeplabv3plus=DeepLabConfig(),
        stcn=STCNConfig(key_bias=False, value_attention=True),
    ),
    # Trains and segments on two CPU cores, at 256 x 256.
    "lite": Architecture(
        transunet=TransUNetConfig(
            grid=16,
            resnet_width=24,
            resnet_units=(2, 3, 4),
            resnet_groups=8,
            hidden=192,
            layers=4,
            heads=6,
            mlp=768,
            dropout=0.0,
            bridge=96,
            decoder=(64, 48, 24, 16),
        ),
        deeplabv3plus=DeepLabConfig(
            encoder="mobilenetv3_small_100",
            encoder_head=False,
            channels=96,
            skip_channels=24,
            rates=(3, 6, 9),
            dropout=0.1,
        ),
        stcn=STCNConfig(
            key_block="basic",
            key_units=(2, 2, 1),
            key_width=48,
            value_width=24,
            key_channels=32,
            value_channels=96,
            decoder=(96, 48, 48),
        ),
    ),
}
