"""The networks a run starts from: random, those of a checkpoint, or with an encoder trained on ImageNet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from flarekit.checkpoints import Card, Provenance, Registry
from flarekit.checkpoints.encoder_weights import load_encoder_weights
from flarekit.config.architecture import ARCHITECTURES, STCNConfig
from flarekit.config.preprocessing import PREPROCESSING, PreprocessingConfig
from flarekit.errors import CheckpointError, UsageError
from flarekit.labels import LabelSet
from flarekit.models import DeepLabV3Plus, NetworkConfig, build

logger = logging.getLogger(__name__)

NETWORKS = {"reference": ("transunet", "deeplabv3plus"), "propagation": ("stcn",)}
HEAD = "head."  # of the tensors that belong to classes, in both reference networks


@dataclass(frozen=True, kw_only=True)
class Initial:
    """Networks before training, and what their checkpoint will say of where they came from."""

    networks: dict[str, nn.Module]
    configs: dict[str, NetworkConfig]
    preprocessing: PreprocessingConfig
    parents: tuple[str, ...]  # the checkpoint they were taken from, NAME@VERSION
    provenance: Provenance


def random_networks(kind: str, arch: str, *, classes: int, seed: int, networks: Sequence[str] | None = None) -> Initial:
    """Networks of a kind ("reference" or "propagation") with random weights, the same for the same seed.

    `networks` names some of the kind's; all of them without it.
    """
    torch.manual_seed(seed)
    configs = _sizes(arch, classes, networks or NETWORKS[kind])
    return Initial(
        networks={name: build(config) for name, config in configs.items()},
        configs=configs,
        preprocessing=PREPROCESSING[arch],
        parents=(),
        provenance=Provenance(),
    )


def checkpoint_networks(
    kind: str,
    reference: str,
    registry: Registry,
    *,
    labels: LabelSet,
    seed: int,
    networks: Sequence[str] | None = None,
    arch: str = "paper",
    challenge: bool = False,
) -> Initial:
    """The networks of a checkpoint, with a new random head where its organs are not those of `labels`.

    Architecture and preprocessing are the checkpoint's. Wanted networks that it does not hold are random, of
    the size `arch`. `challenge` refuses weights against a challenge's rules. Raises CheckpointError.
    """
    loaded = registry.load(reference, challenge=challenge)
    wanted = tuple(networks or NETWORKS[kind])
    _require_any(loaded.card, wanted, kind)
    torch.manual_seed(seed)
    configs = _sizes(arch, labels.classes, wanted) | _resized(loaded.card, wanted, labels.classes)
    built: dict[str, nn.Module] = {name: build(config) for name, config in configs.items()}
    same_organs = loaded.card.labels.names == labels.names
    for name, network in built.items():
        if name in loaded.networks:
            _copy(loaded.networks[name], network, name, keep_head=same_organs)
        else:
            logger.warning("%s: starts with random weights, as %s has none.", name, loaded.card.reference)
    return Initial(
        networks=built,
        configs=configs,
        preprocessing=loaded.card.preprocessing,
        parents=(loaded.card.reference,),
        provenance=replace(loaded.card.provenance, initialisation=loaded.card.reference),
    )


def with_encoder_weights(initial: Initial, weights: str) -> Initial:
    """The same networks with DeepLabV3+'s encoder trained on ImageNet: a name of timm's, or a file of such weights.

    The networks are filled in place; provenance says where the weights came from. Raises UsageError where
    there is no DeepLabV3+ or timm has no such weights for its encoder, CheckpointError where a file does not
    fit or a download fails.
    """
    network = initial.networks.get("deeplabv3plus")
    if not isinstance(network, DeepLabV3Plus):
        raise UsageError("--encoder-weights is for DeepLabV3+, and it is not trained here", remedy="Leave it out.")
    source = load_encoder_weights(network, weights)
    before = "" if initial.provenance.initialisation == "random" else f"{initial.provenance.initialisation}, "
    provenance = replace(
        initial.provenance,
        initialisation=f"{before}DeepLabV3+ encoder from timm's {source}",
        data=tuple(dict.fromkeys((*initial.provenance.data, "ImageNet (encoder weights)"))),
        pretrained_or_extra_data=True,
    )
    return replace(initial, provenance=provenance)


def _sizes(arch: str, classes: int, names: Sequence[str]) -> dict[str, NetworkConfig]:
    sizes = ARCHITECTURES[arch].for_classes(classes)
    return {name: getattr(sizes, name) for name in names}


def _resized(card: Card, names: Sequence[str], classes: int) -> dict[str, NetworkConfig]:
    return {
        name: config if isinstance(config, STCNConfig) else replace(config, classes=classes)
        for name, config in card.networks.items()
        if name in names
    }


def _require_any(card: Card, wanted: Sequence[str], kind: str) -> None:
    if not set(wanted) & set(card.networks):
        raise CheckpointError(
            f"{card.reference} holds {', '.join(card.networks)}, a {kind} run starts from {' or '.join(wanted)}",
            remedy="`flarekit models show` tells what a checkpoint holds.",
        )


def _copy(source: nn.Module, target: nn.Module, name: str, *, keep_head: bool) -> None:
    """Copy every tensor but a head of other organs, which keeps its random values."""
    state: Mapping[str, torch.Tensor] = source.state_dict()
    if not keep_head:
        state = {key: tensor for key, tensor in state.items() if not key.startswith(HEAD)}
    target.load_state_dict(state, strict=False)
    if new := sorted(target.state_dict().keys() - state.keys()):
        logger.warning("%s: %s start anew, as the organs differ.", name, ", ".join(new))
