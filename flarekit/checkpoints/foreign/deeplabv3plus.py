"""segmentation_models.pytorch's DeepLabV3+ with an EfficientNet encoder, in and out.

That package has two kinds of EfficientNet. `efficientnet-bN` pads as TensorFlow does for the image side the network was
designed for, whatever it is given, and has its own names; `timm-efficientnet-bN` pads evenly under timm's names. Its
dilations and output stride leave no trace in the weights: the package's defaults are assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from flarekit.checkpoints.foreign.matching import TheirName, count, fill, renamed, require
from flarekit.config.architecture import DeepLabConfig
from flarekit.errors import CheckpointError
from flarekit.models import DeepLabV3Plus, build

WHAT = "a DeepLabV3Plus of segmentation_models.pytorch with an EfficientNet"
PROJECT, SKIP, HEAD = "decoder.aspp.0.project.0.weight", "decoder.block1.0.weight", "segmentation_head.0.weight"
OWN_EPSILON, TIMM_EPSILON = 1e-3, 1e-5  # of the encoder's BatchNorm in the two kinds


@dataclass(frozen=True)
class _Variant:
    """What tells an EfficientNet from its siblings, and how the package built it."""

    blocks: int  # in all stages
    features: int  # channels of its last convolution
    side: int  # of the image it was designed for, px
    dilated_from: int | None = None  # first dilated block, where that is not where stride 16 ends


VARIANTS = {
    "b0": _Variant(16, 1280, 224, dilated_from=9),
    "b1": _Variant(23, 1280, 240),
    "b2": _Variant(23, 1408, 260),
    "b3": _Variant(26, 1536, 300),
    "b4": _Variant(32, 1792, 380),
    "b5": _Variant(39, 2048, 456),
    "b6": _Variant(45, 2304, 528),
    "b7": _Variant(55, 2560, 600),
}

_DECODER = (
    (r"^decoder\.pyramid\.branches\.0\.", "decoder.aspp.0.convs.0."),
    (r"^decoder\.pyramid\.branches\.([123])\.([01])\.", r"decoder.aspp.0.convs.\1.0.\2."),
    (r"^decoder\.pyramid\.branches\.([123])\.2\.", r"decoder.aspp.0.convs.\1.1."),
    (r"^decoder\.pyramid\.branches\.4\.conv\.0\.", "decoder.aspp.0.convs.4.1."),
    (r"^decoder\.pyramid\.branches\.4\.conv\.1\.", "decoder.aspp.0.convs.4.2."),
    (r"^decoder\.pyramid\.project\.", "decoder.aspp.0.project."),
    (r"^decoder\.refine\.([01])\.", r"decoder.aspp.1.\1."),
    (r"^decoder\.refine\.2\.", "decoder.aspp.2."),
    (r"^decoder\.skip\.", "decoder.block1."),
    (r"^decoder\.fuse\.([01])\.", r"decoder.block2.0.\1."),
    (r"^decoder\.fuse\.2\.", "decoder.block2.1."),
    (r"^head\.", "segmentation_head.0."),
)
_STEM_AND_HEAD = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
_SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
# Blocks of the first stage do not expand their channels first.
_PLAIN_BLOCK = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2", **_SQUEEZE}
_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
    **_SQUEEZE,
}


def from_smp(state: Mapping[str, Tensor], *, where: Path) -> DeepLabV3Plus:
    """A network of the file's own encoder, width and classes. Raises CheckpointError when it is no such network."""
    own = "encoder._conv_stem.weight" in state
    last = "encoder._conv_head.weight" if own else "encoder.conv_head.weight"
    require(state, dict.fromkeys((last, PROJECT, SKIP, HEAD), 4), where=where, what=WHAT)
    size = _size_of(_count_blocks(state, own), len(state[last]), where)
    variant = VARIANTS[size]
    config = DeepLabConfig(
        classes=len(state[HEAD]),
        encoder=f"efficientnet_{size}",
        channels=len(state[PROJECT]),
        skip_channels=len(state[SKIP]),
        same_padding_for=variant.side if own else None,
        norm_epsilon=OWN_EPSILON if own else TIMM_EPSILON,
        dilated_from=variant.dilated_from if own else None,
    )
    network = build(config)
    fill(network, state, names_of(network), where=where, what=WHAT)
    return network


def to_smp(network: DeepLabV3Plus) -> dict[str, Tensor]:
    """The network's tensors as the package names them. Raises CheckpointError where it has no such network."""
    package_encoder(network.config)
    return renamed(network, names_of(network))


def package_encoder(config: DeepLabConfig) -> str:
    """The package's name of the encoder. Raises CheckpointError where it has none that computes the same."""
    size = config.encoder.removeprefix("efficientnet_")
    variant = VARIANTS.get(size)
    built = (config.same_padding_for, config.norm_epsilon, config.dilated_from)
    published = (config.rates, config.skip_channels, config.encoder_head) == (DeepLabConfig.rates, 48, True)
    if variant and published and built == (variant.side, OWN_EPSILON, variant.dilated_from):
        return f"efficientnet-{size}"
    if variant and published and built == (None, TIMM_EPSILON, None):
        return f"timm-efficientnet-{size}"
    raise CheckpointError(
        f"segmentation_models.pytorch has no DeepLabV3+ that computes the same as this one with {config.encoder}",
        remedy="Only EfficientNets of the size `paper` or imported ones can go back.",
    )


def names_of(network: DeepLabV3Plus) -> TheirName:
    """From our names to the package's, for this network's encoder."""
    stages: list[nn.Sequential] = list(network.encoder.blocks)  # type: ignore[arg-type]
    starts = [sum(map(len, stages[:stage])) for stage in range(len(stages))]
    own = network.config.same_padding_for is not None

    def their_name(ours: str) -> str:
        if ours.startswith("encoder."):
            return _encoder_name(ours, starts) if own else ours
        for pattern, theirs in _DECODER:
            ours = re.sub(pattern, theirs, ours)
        return ours

    return their_name


def _encoder_name(ours: str, starts: list[int]) -> str:
    module, _, kind = ours.removeprefix("encoder.").rpartition(".")
    if not module.startswith("blocks."):
        return f"encoder.{_STEM_AND_HEAD[module]}.{kind}"
    _, stage, number, layer = module.split(".", 3)
    names = _PLAIN_BLOCK if stage == "0" else _BLOCK
    return f"encoder._blocks.{starts[int(stage)] + int(number)}.{names[layer]}.{kind}"


def _count_blocks(state: Mapping[str, Tensor], own: bool) -> int:
    if own:
        return count(state, "encoder._blocks.")
    stages = count(state, "encoder.blocks.")
    return sum(count(state, f"encoder.blocks.{stage}.") for stage in range(stages))


def _size_of(blocks: int, features: int, where: Path) -> str:
    for size, variant in VARIANTS.items():
        if (variant.blocks, variant.features) == (blocks, features):
            return size
    raise CheckpointError(
        f"does not hold {WHAT}-b0 to b7: its encoder has {blocks} blocks and {features} features",
        where=where,
        remedy="Check which network the file was saved from.",
    )
