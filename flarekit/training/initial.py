"""The networks a run starts from: random, those of a checkpoint, or with an encoder trained on ImageNet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from flarekit.checkpoints import Card, Loaded, Provenance, Registry
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
    """The networks of a checkpoint, or of several ("a, b@1"), with a new head where its organs are not `labels`'.

    Of several the first that holds a network gives it. Architecture and preprocessing are the checkpoints', which have
    to agree on the latter. Wanted networks that none holds are random, of the size `arch`. `challenge` refuses weights
    against a challenge's rules. Raises CheckpointError.
    """
    wanted = tuple(networks or NETWORKS[kind])
    sources = [registry.load(name.strip(), challenge=challenge) for name in reference.split(",")]
    cards = [source.card for source in sources]
    for card in cards:
        _require_any(card, wanted, kind)
    _require_same_preprocessing(cards)
    torch.manual_seed(seed)
    givers = _givers(sources, wanted)
    configs = _sizes(arch, labels.classes, wanted)
    configs |= {name: _resized(source.card.networks[name], labels.classes) for name, source in givers.items()}
    built: dict[str, nn.Module] = {name: build(config) for name, config in configs.items()}
    parents = tuple(card.reference for card in cards)
    for name, network in built.items():
        if (giver := givers.get(name)) is not None:
            _copy(giver.networks[name], network, name, keep_head=giver.card.labels.names == labels.names)
        else:
            holders = f"{' and '.join(parents)} {'has' if len(parents) == 1 else 'have'}"
            logger.warning("%s: starts with random weights, as %s none.", name, holders)
    return Initial(
        networks=built,
        configs=configs,
        preprocessing=cards[0].preprocessing,
        parents=parents,
        provenance=_joined([card.provenance for card in cards], ", ".join(parents)),
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


def _givers(sources: Sequence[Loaded], wanted: Sequence[str]) -> dict[str, Loaded]:
    """The first of the checkpoints that holds each network. Raises CheckpointError where one gives nothing."""
    givers: dict[str, Loaded] = {}
    for source in sources:
        new = {name: source for name in source.networks if name in wanted and name not in givers}
        if not new:
            raise CheckpointError(
                f"nothing is left for {source.card.reference} to give: the checkpoints before it hold its networks",
                remedy="Leave it out, or name it first.",
            )
        givers |= new
    return givers


def _resized(config: NetworkConfig, classes: int) -> NetworkConfig:
    return config if isinstance(config, STCNConfig) else replace(config, classes=classes)


def _joined(sources: Sequence[Provenance], initialisation: str) -> Provenance:
    """What weights from all of these started from and saw; terms and notes are said once each."""
    return Provenance(
        initialisation=initialisation,
        data=tuple(dict.fromkeys(name for source in sources for name in source.data)),
        pretrained_or_extra_data=any(source.pretrained_or_extra_data for source in sources),
        licence="; ".join(dict.fromkeys(source.licence for source in sources)),
        notes=" ".join(dict.fromkeys(source.notes for source in sources if source.notes)),
    )


def _require_same_preprocessing(cards: Sequence[Card]) -> None:
    for card in cards[1:]:
        if card.preprocessing != cards[0].preprocessing:
            raise CheckpointError(
                f"{card.reference} was trained on slices prepared in another way than those of {cards[0].reference}",
                remedy="Start from one of them, or from checkpoints of the same --arch and --windows.",
            )


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
