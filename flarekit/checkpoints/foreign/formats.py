"""The formats of other projects by the names that `models import --as` and `models export --as` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from flarekit.checkpoints.foreign.deeplabv3plus import from_smp, package_encoder, to_smp
from flarekit.checkpoints.foreign.state import read_state
from flarekit.checkpoints.foreign.stcn import from_stcn, to_stcn
from flarekit.checkpoints.foreign.transunet import STRIDE, from_transunet, to_transunet
from flarekit.checkpoints.foreign.vit_npz import from_vit_npz
from flarekit.config.architecture import FLARE22_CLASSES
from flarekit.models import STCN, DeepLabV3Plus, Network, TransUNet


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a file of weights does not say."""

    canvas: int = 512  # side of the slices a network will see, px: a ViT's position embeddings are resized to it
    classes: int = FLARE22_CLASSES  # of a head that the file has no weights for, background included
    seed: int = 0  # of the parts that the file has no weights for


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format: which network it is for, how it is read, and what a card says of weights that came in it."""

    network: str  # by the names of flarekit.config.architecture.CONFIGS
    kind: str  # of the checkpoint it becomes
    read: Callable[[Path, ReadOptions], Network]
    source: str  # whose weights these are, in words
    normalisation: str = "none"  # that the published network was trained with
    canvas: Callable[[Network], int] = lambda network: 512  # side of the slices it was trained on, px


def _transunet(path: Path, options: ReadOptions) -> TransUNet:
    return from_transunet(read_state(path), where=path)


def _vit_npz(path: Path, options: ReadOptions) -> TransUNet:
    return from_vit_npz(path, grid=options.canvas // STRIDE, classes=options.classes, seed=options.seed)


def _deeplabv3plus(path: Path, options: ReadOptions) -> DeepLabV3Plus:
    return from_smp(read_state(path), where=path)


def _stcn(path: Path, options: ReadOptions) -> STCN:
    return from_stcn(read_state(path), where=path)


def _token_canvas(network: Network) -> int:
    assert isinstance(network, TransUNet)
    return STRIDE * network.config.grid


FORMATS: dict[str, Format] = {
    "transunet": Format(
        network="transunet",
        kind="reference",
        read=_transunet,
        source="a state dict of TransUNet's authors' code",
        canvas=_token_canvas,
    ),
    "vit-npz": Format(
        network="transunet",
        kind="initialisation",
        read=_vit_npz,
        source="the Vision Transformer release's R50+ViT, trained on ImageNet-21k; decoder and head are random",
        canvas=_token_canvas,
    ),
    "deeplabv3plus": Format(
        network="deeplabv3plus",
        kind="reference",
        read=_deeplabv3plus,
        source="a state dict of segmentation_models.pytorch's DeepLabV3Plus",
    ),
    "stcn-original": Format(
        network="stcn",
        kind="propagation",
        read=_stcn,
        source="a state dict of STCN's authors' code",
        normalisation="imagenet",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Written:
    """Tensors for another project, and what loads them there."""

    state: Mapping[str, Tensor]
    loads_into: str  # its class, as it has to be made


def written_transunet(network: Network) -> Written:
    """Raises CheckpointError where the published network cannot compute the same; so do the others."""
    assert isinstance(network, TransUNet)
    config = network.config
    sizes = f"{config.layers} layers of {config.hidden}, img_size={STRIDE * config.grid}, num_classes={config.classes}"
    return Written(state=to_transunet(network), loads_into=f"TransUNet's VisionTransformer (R50-ViT, {sizes})")


def written_deeplabv3plus(network: Network) -> Written:
    assert isinstance(network, DeepLabV3Plus)
    config = network.config
    call = f"DeepLabV3Plus({package_encoder(config)!r}, decoder_channels={config.channels}, classes={config.classes})"
    return Written(state=to_smp(network), loads_into=f"segmentation_models_pytorch.{call}")


def written_stcn(network: Network) -> Written:
    assert isinstance(network, STCN)
    single = not network.config.value_others
    return Written(state=to_stcn(network), loads_into=f"STCN's model.network.STCN(single_object={single})")


WRITERS: dict[str, Callable[[Network], Written]] = {
    "transunet": written_transunet,
    "deeplabv3plus": written_deeplabv3plus,
    "stcn-original": written_stcn,
}
