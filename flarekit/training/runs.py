"""Whole runs: from stores to a published checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from flarekit.checkpoints import Card, Registry
from flarekit.checkpoints.registry import check_name
from flarekit.config import toml
from flarekit.config.preprocessing import WINDOWS
from flarekit.config.training import CPSConfig, STCNTrainingConfig
from flarekit.data.datasets import ClipBatches, CPSBatches
from flarekit.errors import TrainingError
from flarekit.models.stcn import STCN
from flarekit.training.cps import CPSObjective
from flarekit.training.data import Stores, TrainingData, gather, shared_labels
from flarekit.training.initial import Initial, checkpoint_networks, random_networks
from flarekit.training.loop import Task, Trainer, make_accelerator
from flarekit.training.run_folder import RunFolder
from flarekit.training.stcn import STCNObjective
from flarekit.training.validation import Score, score_propagation, score_reference

FORMAT = 1

logger = logging.getLogger(__name__)

TrainingConfig = CPSConfig | STCNTrainingConfig
MakeTask = Callable[[Initial, TrainingData, Accelerator], Task]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is called, what it reads, and where it computes."""

    name: str  # of the run's folder and of the published checkpoint
    stores: Stores
    arch: str = "paper"  # network sizes and their preprocessing; not looked at with `init`
    windows: str | None = None  # window preset in place of the one that comes with `arch` or `init`
    init: str | None = None  # checkpoint to fine-tune
    runs: Path = Path("runs")  # folder of run folders
    device: torch.device = torch.device("cpu")
    resume: bool = False  # go on with the run of this name


def train_cps(settings: RunSettings, config: CPSConfig, registry: Registry) -> Card:
    """Train the reference pair by cross pseudo supervision and publish its best validation; its card comes back.

    Raises InputError, UsageError, OutputError, CheckpointError or TrainingError.
    """

    def make_task(initial: Initial, data: TrainingData, accelerator: Accelerator) -> Task:
        if config.unlabelled_batch and not data.unlabelled:
            raise TrainingError(
                "there is no unlabelled case", remedy="Name a store with --unlabelled, or pass --unlabelled-batch 0."
            )

        def validate() -> Score:
            stride = config.loop.validation_stride
            return score_reference(initial.networks, data.validation, data.labels, stride=stride)

        return Task(
            objective=CPSObjective(initial.networks, config),
            networks=initial.networks,
            batches=CPSBatches(data.labelled, data.unlabelled, data.labels, config, rank=accelerator.process_index),
            validate=validate if data.validation else None,
            loop=config.loop,
            optimiser=config.optimiser,
        )

    return _train("reference", settings, config, registry, make_task)


def train_stcn(settings: RunSettings, config: STCNTrainingConfig, registry: Registry) -> Card:
    """Train the propagation network on clips and publish its best validation; its card comes back.

    Raises InputError, UsageError, OutputError, CheckpointError or TrainingError.
    """

    def make_task(initial: Initial, data: TrainingData, accelerator: Accelerator) -> Task:
        network = initial.networks["stcn"]
        assert isinstance(network, STCN)

        def validate() -> Score:
            return score_propagation(network, data.validation, data.labels)

        return Task(
            objective=STCNObjective(network, config),
            networks=initial.networks,
            batches=ClipBatches(data.labelled, config, rank=accelerator.process_index),
            validate=validate if data.validation else None,
            loop=config.loop,
            optimiser=config.optimiser,
        )

    return _train("propagation", settings, config, registry, make_task)


def _train(kind: str, settings: RunSettings, config: TrainingConfig, registry: Registry, make_task: MakeTask) -> Card:
    check_name(settings.name)
    folder = RunFolder(settings.runs / settings.name)
    accelerator = make_accelerator(settings.device, config.loop.precision)
    initial = _initial(kind, settings, config, registry)
    data = gather(settings.stores, initial.preprocessing, seed=config.loop.seed)
    written = _describe(kind, settings, config, initial, data)
    task = make_task(initial, data, accelerator)
    state = folder.continue_with(written) if settings.resume else None
    if not settings.resume and accelerator.is_main_process:
        folder.begin(written)
    accelerator.wait_for_everyone()
    _announce(settings, data, state)
    score = Trainer(task, folder, accelerator, state).run()
    card = _card(kind, settings, initial, data, training=written, metrics=score or {})
    if not accelerator.is_main_process:
        return card
    card = registry.publish(card, initial.networks)
    folder.finish(card.reference)
    return card


def _card(
    kind: str,
    settings: RunSettings,
    initial: Initial,
    data: TrainingData,
    *,
    training: dict[str, Any],
    metrics: dict[str, Any],
) -> Card:
    seen = (*initial.provenance.data, *_names(settings.stores))
    return Card(
        kind=kind,
        name=settings.name,
        networks=initial.configs,
        preprocessing=initial.preprocessing,
        labels=data.labels,
        training=training,
        metrics=metrics,
        provenance=replace(initial.provenance, data=tuple(dict.fromkeys(seen))),
        parents=initial.parents,
    )


def _initial(kind: str, settings: RunSettings, config: TrainingConfig, registry: Registry) -> Initial:
    classes, seed = shared_labels(settings.stores).classes, config.loop.seed
    if settings.init is not None:
        initial = checkpoint_networks(kind, settings.init, registry, classes=classes, seed=seed)
    else:
        initial = random_networks(kind, settings.arch, classes=classes, seed=seed)
    if settings.windows is None:
        return initial
    preprocessing = replace(initial.preprocessing, windows=WINDOWS[settings.windows])
    return replace(initial, preprocessing=preprocessing)


def _describe(
    kind: str,
    settings: RunSettings,
    config: TrainingConfig,
    initial: Initial,
    data: TrainingData,
) -> dict[str, Any]:
    """What `config.toml` and the checkpoint's card say: names, no paths."""
    return {
        "format": FORMAT,
        "kind": kind,
        "arch": settings.arch if settings.init is None else "",
        "init": ", ".join(initial.parents),  # with the version: a newer one may be there when the run is resumed
        "stores": _names(settings.stores),
        "labelled_cases": len(data.labelled),
        "unlabelled_cases": len(data.unlabelled),
        "validation_cases": len(data.validation),
        "cases_sha256": data.fingerprint(),
        "preprocessing": toml.to_dict(initial.preprocessing),
        "training": toml.to_dict(config),
    }


def _names(stores: Stores) -> list[str]:
    folders = (*stores.labelled, *stores.unlabelled, *([stores.validation] if stores.validation else []))
    return [folder.resolve().name for folder in folders]


def _announce(settings: RunSettings, data: TrainingData, state: dict[str, Any] | None) -> None:
    done = f"resumes after iteration {state['iteration']}" if state else "starts"
    logger.info(
        "Run %s %s: %d labelled, %d unlabelled, %d validation cases, on %s.",
        settings.name, done, len(data.labelled), len(data.unlabelled), len(data.validation), settings.device,
    )  # fmt: skip
    if not data.validation:
        logger.warning("No case to validate on: the last iteration is published, whatever it is worth.")
