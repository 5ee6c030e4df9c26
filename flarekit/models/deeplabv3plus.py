"""DeepLabV3+: a convolutional encoder at stride 16, an atrous pyramid, and a decoder at stride 4.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
arXiv:1802.02611. The encoder is one that timm knows; pyramid, decoder and the dilation of the encoder's last stages are
laid out as in segmentation_models.pytorch, whose weights users have; that package's own EfficientNets pad, normalise
and dilate in their own way, which the configuration can ask for. Built with random weights, never from the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flarekit.config.architecture import DeepLabConfig
from flarekit.models.mobile import NETWORKS, Trunk

_HEADS = ("conv_head", "bn2", "norm_head")  # what timm's two families call the layers after the last stage


class SamePaddedConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same" does for a square input of that side, whatever the input's size.

    Where an odd number of rows is missing, the bottom gets one more than the top, and so do columns.
    """

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        super().__init__(
            conv.in_channels, conv.out_channels, kernel, stride=stride, groups=conv.groups, bias=conv.bias is not None
        )
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        self.margins = (missing // 2, missing - missing // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.margins))


class Encoder(nn.Module):
    """A timm EfficientNet or MobileNetV3 whose last stages are dilated instead of going to stride 32.

    Raises ValueError when timm knows no such network, it is of another family, or is dilated too early.
    """

    def __init__(self, config: DeepLabConfig) -> None:
        super().__init__()
        network = _network(config)
        stages = {level["reduction"]: level for level in network.feature_info}
        self.low_stage = _block_index(stages[4])
        self.low_channels: int = stages[4]["num_chs"]
        self.channels: int = stages[32]["num_chs"]
        self.conv_stem, self.bn1 = network.conv_stem, network.bn1
        self.blocks: nn.Sequential = network.blocks
        blocks: list[nn.Module] = list(chain.from_iterable(self.blocks))
        early = sum(map(len, self.blocks[: _block_index(stages[16])]))
        last = early + len(self.blocks[_block_index(stages[16])])
        dilated_from = last if config.dilated_from is None else config.dilated_from
        if not early < dilated_from <= last:
            raise ValueError(f"dilated_from lies in {early + 1}..{last} for {config.encoder}, got {dilated_from}")
        _dilate(blocks[dilated_from:])
        if config.same_padding_for is not None:
            self._pad_unevenly(blocks, config.same_padding_for)
        if config.encoder_head:
            for layer in _HEADS:
                if hasattr(network, layer):
                    self.add_module(layer, getattr(network, layer))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn1(self.conv_stem(image))
        for stage in self.blocks[: self.low_stage + 1]:
            x = stage(x)
        f4 = x
        for stage in self.blocks[self.low_stage + 1 :]:
            x = stage(x)
        return f4, x

    def _pad_unevenly(self, blocks: Iterable[nn.Module], side: int) -> None:
        self.conv_stem, side = SamePaddedConv2d(self.conv_stem, side), -(-side // 2)
        for block in blocks:
            conv: nn.Conv2d = block.get_submodule("conv_dw")  # type: ignore[assignment]
            if conv.stride[0] == 2:
                block.conv_dw, side = SamePaddedConv2d(conv, side), -(-side // 2)


class ImagePooling(nn.Module):
    """The mean over the whole slice, brought to `outputs` channels and spread over the slice again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _conv_norm_relu(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, three dilated separable convolutions, the slice's mean."""

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            (
                _conv_norm_relu(inputs, outputs),
                *(_separable(inputs, outputs, dilation=rate) for rate in rates),
                ImagePooling(inputs, outputs),
            )
        )
        self.project = _conv_norm_relu(len(self.branches) * outputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(torch.cat([branch(x) for branch in self.branches], dim=1)))


class Decoder(nn.Module):
    """Pyramid features, enlarged four times and refined with the encoder's stride-4 features."""

    def __init__(self, inputs: int, low_inputs: int, config: DeepLabConfig) -> None:
        super().__init__()
        channels = config.channels
        self.pyramid = Pyramid(inputs, channels, config.rates, config.dropout)
        self.refine = _separable(channels, channels)
        self.skip = _conv_norm_relu(low_inputs, config.skip_channels)
        self.fuse = _separable(channels + config.skip_channels, channels)

    def forward(self, f4: Tensor, f16: Tensor) -> Tensor:
        x = _enlarge(self.refine(self.pyramid(f16)))
        return self.fuse(torch.cat((x, self.skip(f4)), dim=1))


class DeepLabV3Plus(nn.Module):
    """Class logits of axial slices."""

    def __init__(self, config: DeepLabConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(self.encoder.channels, self.encoder.low_channels, config)
        self.head = nn.Conv2d(config.channels, config.classes, 1)
        self.decoder.apply(_initialise)
        self.head.apply(_initialise)

    def forward(self, image: Tensor, position: Tensor | None = None) -> Tensor:
        """Logits (B, classes, H, W).

        image (B, 3, H, W) in 0..1 with H and W multiples of 16; `position` is taken for one signature with
        TransUNet and not used. Raises ValueError on other sides.
        """
        height, width = image.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(f"the input's sides are multiples of 16, got {height} x {width}")
        return _enlarge(self.head(self.decoder(*self.encoder(image))))

    def parts(self) -> dict[str, nn.Module]:
        """The modules whose parameters are counted apart."""
        return {"encoder": self.encoder, "decoder": self.decoder, "head": self.head}


def _network(config: DeepLabConfig) -> Any:
    name = config.encoder
    network = Trunk(name) if name in NETWORKS else _timm_network(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = config.norm_epsilon
    return network


def _timm_network(name: str) -> Any:
    import timm  # takes seconds, and few encoders need it

    if not timm.is_model(name):
        raise ValueError(f"timm has no network {name!r}")
    network = timm.create_model(name, pretrained=False)
    if not all(hasattr(network, layer) for layer in ("conv_stem", "bn1", "blocks", "feature_info")):
        raise ValueError(f"the encoder is of the EfficientNet or MobileNetV3 family, got {name!r}")
    return network


def _block_index(level: dict) -> int:
    return int(level["module"].removeprefix("blocks."))


def _dilate(stages: Iterable[nn.Module]) -> None:
    for module in (module for stage in stages for module in stage.modules()):
        if isinstance(module, nn.Conv2d):
            margin = module.kernel_size[0] // 2 * 2
            module.stride, module.dilation, module.padding = (1, 1), (2, 2), (margin, margin)


def _conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _separable(inputs: int, outputs: int, *, dilation: int = 1) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False)
    return nn.Sequential(depthwise, *_conv_norm_relu(inputs, outputs))


_enlarge = partial(F.interpolate, scale_factor=4, mode="bilinear", align_corners=True)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
