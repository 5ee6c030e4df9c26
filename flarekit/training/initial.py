"""The networks a run starts from: random, or those of a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch import nn

from flarekit.checkpoints import Provenance, Registry
from flarekit.config.architecture import ARCHITECTURES, STCNConfig
from flarekit.config.preprocessing import PREPROCESSING, PreprocessingConfig
from flarekit.models import NetworkConfig, build

logger = logging.getLogger(__name__)

NETWORKS = {"reference": ("transunet", "deeplabv3plus"), "propagation": ("stcn",)}


@dataclass(frozen=True, kw_only=True)
class Initial:
    """Networks before training, and what their checkpoint will say of where they came from."""

    networks: dict[str, nn.Module]
    configs: dict[str, NetworkConfig]
    preprocessing: PreprocessingConfig
    parents: tuple[str, ...]  # the checkpoint they were taken from, NAME@VERSION
    provenance: Provenance


def random_networks(kind: str, arch: str, *, classes: int, seed: int) -> Initial:
    """Networks of a kind ("reference" or "propagation") with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    sizes = ARCHITECTURES[arch].for_classes(classes)
    configs: dict[str, NetworkConfig] = {name: getattr(sizes, name) for name in NETWORKS[kind]}
    return Initial(
        networks={name: build(config) for name, config in configs.items()},
        configs=configs,
        preprocessing=PREPROCESSING[arch],
        parents=(),
        provenance=Provenance(),
    )


def checkpoint_networks(kind: str, reference: str, registry: Registry, *, classes: int, seed: int) -> Initial:
    """The networks of a checkpoint, with a new random head where the number of classes differs.

    Architecture and preprocessing are the checkpoint's. Raises CheckpointError.
    """
    loaded = registry.load(reference, kind=kind)
    torch.manual_seed(seed)
    configs: dict[str, NetworkConfig] = {
        name: config if isinstance(config, STCNConfig) else replace(config, classes=classes)
        for name, config in loaded.card.networks.items()
    }
    networks: dict[str, nn.Module] = {name: build(config) for name, config in configs.items()}
    for name, network in networks.items():
        _copy_fitting(loaded.networks[name], network, name)
    return Initial(
        networks=networks,
        configs=configs,
        preprocessing=loaded.card.preprocessing,
        parents=(loaded.card.reference,),
        provenance=replace(loaded.card.provenance, initialisation=loaded.card.reference),
    )


def _copy_fitting(source: nn.Module, target: nn.Module, name: str) -> None:
    """Copy every tensor that has the same shape in both; the others keep their random values."""
    wanted = target.state_dict()
    state = {k: v for k, v in source.state_dict().items() if k in wanted and v.shape == wanted[k].shape}
    target.load_state_dict(state, strict=False)
    if new := sorted(wanted.keys() - state.keys()):
        logger.warning("%s: %s start anew, as the organs differ in number.", name, ", ".join(new))
