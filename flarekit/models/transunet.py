"""TransUNet: a ResNet's stride-16 features are a transformer's tokens; a U-Net decoder brings them to size.

Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation", arXiv:2102.04306,
in the form R50-ViT-B/16; the ResNet is the hybrid one of Dosovitskiy et al., arXiv:2010.11929 (weight
standardisation and GroupNorm). Arithmetic follows the authors' release (epsilons, unpadded max pooling, one
group a channel in the norm of projected shortcuts, corner-aligned upsampling), so that its weights keep their
meaning.

Deviations: the slice's position in the volume is one more channel before the head, as the FLARE22 paper's
parameter counts imply; sides may be any multiples of 32, position embeddings being interpolated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flarekit.config.architecture import TransUNetConfig

STRIDE = 16


class StandardisedConv2d(nn.Conv2d):
    """A convolution without bias whose filters have zero mean and unit variance in use (arXiv:1903.10520)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-5)
        return F.conv2d(x, weight, None, self.stride, self.padding)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut, which is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        middle = outputs // 4
        self.conv1 = StandardisedConv2d(inputs, middle, 1)
        self.norm1 = nn.GroupNorm(groups, middle, eps=1e-6)
        self.conv2 = StandardisedConv2d(middle, middle, 3, stride=stride)
        self.norm2 = nn.GroupNorm(groups, middle, eps=1e-6)
        self.conv3 = StandardisedConv2d(middle, outputs, 1)
        self.norm3 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = StandardisedConv2d(inputs, outputs, 1, stride=stride)
            self.shortcut = nn.Sequential(projection, nn.GroupNorm(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.shortcut(x) + self.norm3(self.conv3(y)))


class HybridResNet(nn.Module):
    """Features at strides 2, 4, 8 and 16 of width, 4, 8 and 16 times width channels."""

    def __init__(self, width: int, units: tuple[int, ...], groups: int) -> None:
        super().__init__()
        self.root = nn.Sequential(
            StandardisedConv2d(3, width, 7, stride=2), nn.GroupNorm(groups, width, eps=1e-6), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, stride=2)
        self.stage4 = _stage(width, 4 * width, units[0], stride=1, groups=groups)
        self.stage8 = _stage(4 * width, 8 * width, units[1], stride=2, groups=groups)
        self.stage16 = _stage(8 * width, 16 * width, units[2], stride=2, groups=groups)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        f2 = self.root(image)
        f4 = self.stage4(self.pool(f2))
        f8 = self.stage8(f4)
        # The unpadded pool leaves f4 one pixel short; only the decoder's copy is filled up with zeros.
        return f2, F.pad(f4, (0, 1, 0, 1)), f8, self.stage16(f8)


class Attention(nn.Module):
    """Multi-head self-attention, tokens (B, N, hidden) to (B, N, hidden)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.out = nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (self._split(part(tokens)) for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Attention, then a perceptron, each on normalised tokens and added to them."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden, eps=1e-6)
        self.attention = Attention(config.hidden, config.heads)
        self.mlp_norm = nn.LayerNorm(config.hidden, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden, config.mlp),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp, config.hidden),
            nn.Dropout(config.dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.mlp(self.mlp_norm(tokens))


class Transformer(nn.Module):
    """ResNet features as tokens with learned positions, mixed by the layers; the skips beside them."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        self.resnet = HybridResNet(config.resnet_width, config.resnet_units, config.resnet_groups)
        self.embedding = nn.Conv2d(16 * config.resnet_width, config.hidden, 1)
        self.positions = nn.Parameter(torch.zeros(1, config.hidden, config.grid, config.grid))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.hidden, eps=1e-6)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        f2, f4, f8, f16 = self.resnet(image)
        embedded = self.embedding(f16)
        size = embedded.shape[-2:]
        tokens = self.dropout(embedded + self._positions_for(size)).flatten(2).transpose(1, 2)
        mixed = self.norm(self.layers(tokens)).transpose(1, 2)
        return mixed.unflatten(2, size), (f8, f4, f2)

    def _positions_for(self, size: torch.Size) -> Tensor:
        if self.positions.shape[-2:] == size:
            return self.positions
        return F.interpolate(self.positions, size=size, mode="bilinear", align_corners=False)


class UpBlock(nn.Module):
    """Twice the size, joined with a skip of that size where there is one, two convolutions."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv_norm_relu(inputs + skip, outputs)
        self.conv2 = _conv_norm_relu(outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        return self.conv2(self.conv1(x))


class Decoder(nn.Module):
    """The cascaded upsampler: from stride 16 to full size, with skips at strides 8, 4 and 2."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        width = config.resnet_width
        self.bridge = _conv_norm_relu(config.hidden, config.bridge)
        inputs, skips = (config.bridge, *config.decoder[:-1]), (8 * width, 4 * width, width, 0)
        self.blocks = nn.ModuleList(map(UpBlock, inputs, skips, config.decoder))

    def forward(self, x: Tensor, skips: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x = self.bridge(x)
        for block, skip in zip(self.blocks, (*skips, None), strict=True):
            x = block(x, skip)
        return x


class TransUNet(nn.Module):
    """Class logits of axial slices, from the slice and its place in the volume."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.decoder = Decoder(config)
        self.head = nn.Conv2d(config.decoder[-1] + 1, config.classes, 3, padding=1)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.transformer.positions, std=0.02)

    def forward(self, image: Tensor, position: Tensor) -> Tensor:
        """Logits (B, classes, H, W).

        image (B, 3, H, W) in 0..1 with H and W multiples of 32; position (B,) in 0..1, feet to head.
        Raises ValueError on other sides.
        """
        height, width = image.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"the input's sides are multiples of 32, got {height} x {width}")
        x = self.decoder(*self.transformer(image))
        place = position.to(x).reshape(-1, 1, 1, 1).expand(x.shape[0], 1, height, width)
        return self.head(torch.cat((x, place), dim=1))

    def parts(self) -> dict[str, nn.Module]:
        """The modules whose parameters are counted apart."""
        return {"transformer": self.transformer, "decoder": self.decoder, "head": self.head}


def _stage(inputs: int, outputs: int, units: int, *, stride: int, groups: int) -> nn.Sequential:
    first = Bottleneck(inputs, outputs, stride=stride, groups=groups)
    rest = (Bottleneck(outputs, outputs, stride=1, groups=groups) for _ in range(units - 1))
    return nn.Sequential(first, *rest)


def _conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
