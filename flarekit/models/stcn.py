"""STCN: a slice is matched with remembered slices by key; what they hold is decoded into one object's mask.

Cheng et al., "Rethinking Space-Time Networks with Improved Memory Coverage for Efficient Video Object
Segmentation", arXiv:2106.05210. The size `paper` is as the FLARE22 paper counts it (table 3): convolutions
with bias, no attention where object and slice are joined. The size `original` is as the authors published it: no
bias in the key encoder, attention (CBAM, Woo et al., arXiv:1807.06521). The memory and its reading are not part
of the network: see flarekit.ops.affinity.

Deviation: the two residual blocks that join an object's features with its slice's convolve the halves apart
and add up, which gives the same sums; the slice's half is computed once for all its objects.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flarekit.config.architecture import STCNConfig
from flarekit.models.convolution import Conv3x3
from flarekit.models.resnet import ResNet


class KeyFeatures(NamedTuple):
    """What a slice gives without knowing any object, at stride 16 but for the last two."""

    key: Tensor  # (B, key channels, h, w)
    f16_thin: Tensor  # (B, value channels, h, w)
    f16: Tensor  # (B, C, h, w)
    f8: Tensor  # (B, C, 2h, 2w)
    f4: Tensor  # (B, C, 4h, 4w)


class DecoderSkips(NamedTuple):
    """The decoder's terms that do not depend on the object."""

    fusion: tuple[Tensor, Tensor]  # the slice's half of the fusion block, (B, C, h, w) each
    skip8: Tensor  # (B, C, 2h, 2w)
    skip4: Tensor  # (B, C, 4h, 4w)


class ResidualBlock(nn.Module):
    """Two pre-activated 3x3 convolutions around a shortcut (a 3x3 convolution where channels change)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if inputs == outputs else Conv3x3(inputs, outputs)
        self.conv1 = Conv3x3(inputs, outputs)
        self.conv2 = Conv3x3(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """A ResidualBlock of object features and slice features one after the other, in two steps.

    `share` is the slice's half, computed once; `forward` adds an object's half to it.
    """

    def __init__(self, inputs: int, shared_inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = Conv3x3(inputs + shared_inputs, outputs)
        self.conv1 = Conv3x3(inputs + shared_inputs, outputs)
        self.conv2 = Conv3x3(outputs, outputs)
        self.inputs = inputs

    def share(self, shared: Tensor) -> tuple[Tensor, Tensor]:
        """The slice's terms of shortcut and first convolution, biases in, from (B, shared inputs, h, w)."""
        first = self.conv1.of_inputs(F.relu(shared), self.inputs, bias=True)
        return self.shortcut.of_inputs(shared, self.inputs, bias=True), first

    def forward(self, x: Tensor, shared: tuple[Tensor, Tensor]) -> Tensor:
        shortcut = shared[0] + self.shortcut.of_inputs(x, 0, bias=False)
        first = shared[1] + self.conv1.of_inputs(F.relu(x), 0, bias=False)
        return shortcut + self.conv2(F.relu(first))


class Attention(nn.Module):
    """CBAM: what a map of features is weighed with, channel by channel and then place by place."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))
        logits = sum(self.excite(F.relu(self.squeeze(each))) for each in pooled)
        x = x * torch.sigmoid(logits)[:, :, None, None]
        summary = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.place(summary))


class ValueEncoder(nn.Module):
    """Memory values (B, value channels, h, w) of an object: from slice, own mask and the others' mask."""

    def __init__(self, config: STCNConfig, f16_channels: int) -> None:
        super().__init__()
        self.others = config.value_others
        self.resnet = ResNet("basic", config.value_units, config.value_width, inputs=5 if self.others else 4)
        self.fuse = FusionBlock(self.resnet.channels[-1], f16_channels, config.value_channels)
        self.attention = Attention(config.value_channels) if config.value_attention else None
        self.refine = ResidualBlock(config.value_channels, config.value_channels)
        if self.others:
            with torch.no_grad():  # training on single objects never shows others: no noise may come from them then
                self.resnet.conv1.weight[:, -1] = 0

    def forward(self, image: Tensor, f16: Tensor, mask: Tensor, others: Tensor) -> Tensor:
        masks = (mask, others) if self.others else (mask,)
        *_, x = self.resnet(torch.cat((image.expand(len(mask), -1, -1, -1), *masks), dim=1))
        x = self.fuse(x, self.fuse.share(f16))
        if self.attention is not None:
            x = x + self.attention(x)
        return self.refine(x)


class UpBlock(nn.Module):
    """Twice the size, a convolved skip added, a residual block."""

    def __init__(self, skip_inputs: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip = Conv3x3(skip_inputs, inputs)
        self.block = ResidualBlock(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, outputs, 2h, 2w) from x (B, inputs, h, w) and `self.skip`'s output (1 or B, inputs, 2h, 2w)."""
        return self.block(skip + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


# Logit of 1 %: an object is rare. From an even start, everything is first taught to be background, and the
# features before the last ReLU can die where the object is; the mask then stays at 0.5.
_RARE = -4.6


class Decoder(nn.Module):
    """One object's logits at full size from what was read of the memory and the slice's features."""

    def __init__(self, config: STCNConfig, f4_channels: int, f8_channels: int) -> None:
        super().__init__()
        d16, d8, d4 = config.decoder
        self.fuse = FusionBlock(config.value_channels, config.value_channels, d16)
        self.up8 = UpBlock(f8_channels, d16, d8)
        self.up4 = UpBlock(f4_channels, d8, d4)
        self.predict = nn.Conv2d(d4, 1, 3, padding=1)
        nn.init.constant_(self.predict.get_parameter("bias"), _RARE)

    def skips(self, f16_thin: Tensor, f8: Tensor, f4: Tensor) -> DecoderSkips:
        return DecoderSkips(self.fuse.share(f16_thin), self.up8.skip(f8), self.up4.skip(f4))

    def forward(self, readout: Tensor, skips: DecoderSkips) -> Tensor:
        x = self.fuse(readout, skips.fusion)
        x = self.up4(self.up8(x, skips.skip8), skips.skip4)
        logits = self.predict(F.relu(x))
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)


class STCN(nn.Module):
    """Keys and values of slices, and masks from what is read of them. Sides of slices are multiples of 16."""

    def __init__(self, config: STCNConfig) -> None:
        super().__init__()
        self.config = config
        self.key_encoder = ResNet(config.key_block, config.key_units, config.key_width, inputs=3, bias=config.key_bias)
        f4, f8, f16 = self.key_encoder.channels
        self.value_encoder = ValueEncoder(config, f16)
        self.key_projection = nn.Conv2d(f16, config.key_channels, 3, padding=1)
        self.key_compression = Conv3x3(f16, config.value_channels)
        self.decoder = Decoder(config, f4, f8)
        nn.init.orthogonal_(self.key_projection.weight)

    @property
    def values_are_local(self) -> bool:
        """Whether an object's value may be encoded on a part of the slice: attention weighs by the whole of it."""
        return not self.config.value_attention

    def encode_key(self, image: Tensor) -> KeyFeatures:
        """Features of slices (B, 3, H, W) in 0..1. Raises ValueError unless H and W are multiples of 16."""
        height, width = image.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(f"the input's sides are multiples of 16, got {height} x {width}")
        f4, f8, f16 = self.key_encoder(image)
        return KeyFeatures(self.key_projection(f16), self.key_compression(f16), f16, f8, f4)

    def encode_value(self, image: Tensor, f16: Tensor, mask: Tensor, others: Tensor) -> Tensor:
        """Memory values (B, value channels, h, w) of B objects.

        image (B or 1, 3, H, W) in 0..1 and its f16 (B or 1, C, h, w): 1 where all objects are on one slice;
        mask and others (B, 1, H, W) in 0..1, the object and the sum of all other objects, which a network
        for single objects does not look at.
        """
        return self.value_encoder(image, f16, mask, others)

    def decode_skips(self, features: KeyFeatures) -> DecoderSkips:
        """The decoder's terms that all objects of a slice share: compute once, pass to `decode`."""
        return self.decoder.skips(features.f16_thin, features.f8, features.f4)

    def decode(self, readout: Tensor, features: KeyFeatures | DecoderSkips) -> Tensor:
        """Logits (B, 1, H, W) of B objects.

        readout (B, value channels, h, w); features of B slices, or of the one slice that all objects are on.
        """
        skips = features if isinstance(features, DecoderSkips) else self.decode_skips(features)
        return self.decoder(readout, skips)

    def parts(self) -> dict[str, nn.Module]:
        """The modules whose parameters are counted apart."""
        return {
            "key encoder": self.key_encoder,
            "value encoder": self.value_encoder,
            "key projection": self.key_projection,
            "key compression": self.key_compression,
            "decoder": self.decoder,
        }


def aggregate(probabilities: Tensor) -> Tensor:
    """Probabilities (K+1, H, W) that sum to 1, background first, from each object's own (K, H, W).

    Soft aggregation (Oh et al., arXiv:1904.00607, section 3.3): background is where no object is, and odds
    p / (1 - p) are normalised. Batch axes may lead; computed in float32.
    """
    own = probabilities.float()
    background = torch.prod(1 - own, dim=-3, keepdim=True)
    return torch.cat((background, own), dim=-3).clamp(1e-7, 1 - 1e-7).logit().softmax(dim=-3)
