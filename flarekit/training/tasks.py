"""What each of the three trainings does with networks and cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from flarekit.config.training import REFERENCE_NETWORKS, CPSConfig, STCNTrainingConfig, SupervisedConfig
from flarekit.data.datasets import ClipBatches, CPSBatches, Share
from flarekit.errors import TrainingError, UsageError
from flarekit.models.stcn import STCN
from flarekit.training.cps import CPSObjective
from flarekit.training.data import TrainingData
from flarekit.training.loop import Task
from flarekit.training.stcn import STCNObjective
from flarekit.training.supervised import SupervisedObjective
from flarekit.training.validation import Score, score_propagation, score_reference

TrainingConfig = SupervisedConfig | CPSConfig | STCNTrainingConfig
Networks = Mapping[str, nn.Module]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One way to train."""

    command: str  # what `flarekit train` calls it
    kind: str  # of the checkpoint that comes out
    networks: tuple[str, ...]  # that are trained
    make_task: Callable[[Networks, TrainingData, Share], Task]


def training_of(config: TrainingConfig) -> Training:
    """The training that a configuration describes.

    Its `make_task` raises TrainingError where cases are wanting, UsageError where every organ is left out.
    """
    if isinstance(config, SupervisedConfig):
        return _supervised(config)
    return _cps(config) if isinstance(config, CPSConfig) else _stcn(config)


def _supervised(config: SupervisedConfig) -> Training:
    def make_task(networks: Networks, data: TrainingData, share: Share) -> Task:
        batches = CPSBatches(data.labelled, (), data.labels, config, share=share)
        objective = SupervisedObjective(networks[config.network], config)
        return _reference_task(config, networks, data, objective, batches)

    return Training(command="supervised", kind="reference", networks=(config.network,), make_task=make_task)


def _cps(config: CPSConfig) -> Training:
    def make_task(networks: Networks, data: TrainingData, share: Share) -> Task:
        if config.unlabelled_batch and not data.unlabelled:
            raise TrainingError(
                "there is no unlabelled case", remedy="Name a store with --unlabelled, or pass --unlabelled-batch 0."
            )
        labelled, pseudo = (data.labelled, ()) if config.pseudo_batch is None else data.by_trust()
        batches = CPSBatches(labelled, data.unlabelled, data.labels, config, pseudo=pseudo, share=share)
        return _reference_task(config, networks, data, CPSObjective(networks, config), batches)

    return Training(command="cps", kind="reference", networks=REFERENCE_NETWORKS, make_task=make_task)


def _stcn(config: STCNTrainingConfig) -> Training:
    def make_task(networks: Networks, data: TrainingData, share: Share) -> Task:
        network = networks["stcn"]
        assert isinstance(network, STCN)
        left_out = [data.labels.class_of(organ) for organ in config.leave_out]
        if len(set(left_out)) == len(data.labels.names):
            raise UsageError("--leave-out leaves no organ to follow", remedy="Name fewer organs.")

        def validate() -> Score:
            return score_propagation(network, data.validation, data.labels, left_out=left_out)

        return Task(
            objective=STCNObjective(network, config),
            networks=networks,
            batches=ClipBatches(data.labelled, config, left_out=left_out, share=share),
            validate=validate if data.validation else None,
            loop=config.loop,
            optimiser=config.optimiser,
        )

    return Training(command="stcn", kind="propagation", networks=("stcn",), make_task=make_task)


def _reference_task(
    config: SupervisedConfig | CPSConfig, networks: Networks, data: TrainingData, objective: nn.Module, batches: Any
) -> Task:
    def validate() -> Score:
        return score_reference(networks, data.validation, data.labels, stride=config.loop.validation_stride)

    return Task(
        objective=objective,
        networks=networks,
        batches=batches,
        validate=validate if data.validation else None,
        loop=config.loop,
        optimiser=config.optimiser,
    )
