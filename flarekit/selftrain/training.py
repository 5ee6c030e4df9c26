"""The models of a round, and of the control: each is a run of `flarekit train cps`, which resumes where it was."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch

from flarekit.checkpoints import Card, Registry
from flarekit.config.run import RunSettings, Stores
from flarekit.config.selftrain import SelftrainConfig
from flarekit.config.training import CPSConfig
from flarekit.consensus.ledger import LEDGER
from flarekit.errors import InputError
from flarekit.files import output_errors, remove_leftovers, sha256
from flarekit.selftrain.state import RoundLabels, RoundState, TrainedModel
from flarekit.selftrain.workplace import Workplace
from flarekit.training.run_folder import RunFolder
from flarekit.training.runs import train

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """One training."""

    name: str
    number: int  # of the model in its round, from 1
    seed: int
    started_from: str | None = None  # a checkpoint to fine-tune; None starts as [train] says
    pseudo_labels: RoundLabels | None = None  # that it learns from
    rounds: int = 1  # it has so many rounds' iterations


def plan_model(config: SelftrainConfig, place: Workplace, before: RoundState | None, number: int) -> ModelPlan:
    """Model `number` of the round that follows `before`, of the first round without it."""
    if before is None:
        return ModelPlan(name=f"{config.name}-r1-m{number}", number=number, seed=_seed(config, 1, number))
    assert before.labels is not None
    return ModelPlan(
        name=f"{config.name}-r{before.number + 1}-m{number}",
        number=number,
        seed=_seed(config, before.number + 1, number),
        started_from=before.models[number - 1].checkpoint if config.rounds.start == "previous" else None,
        pseudo_labels=before.labels,
    )


def plan_control(
    config: SelftrainConfig, first: RoundState, rounds: int, number: int, before: TrainedModel | None
) -> ModelPlan:
    """The model that stands beside model `number` of the last of so many rounds, without pseudo-labels.

    From scratch, it is one training with the iterations of all rounds. Otherwise it goes on from the first round's
    model as the rounds do, and this is the training after `before`, the first of them without it.
    """
    if config.rounds.start == "scratch":
        name = f"{config.name}-control-x{rounds}-m{number}"
        return ModelPlan(name=name, number=number, seed=_seed(config, 1, number), rounds=rounds)
    return ModelPlan(
        name=f"{config.name}-control-r{rounds}-m{number}",
        number=number,
        seed=_seed(config, rounds, number),
        started_from=(before or first.models[number - 1]).checkpoint,
    )


def train_model(
    plan: ModelPlan, config: SelftrainConfig, place: Workplace, registry: Registry, device: torch.device
) -> TrainedModel:
    """The checkpoint of a plan: trained, gone on with, or found where it is finished.

    Raises InputError where its pseudo-labels are no longer those of their round, and what `train` does.
    """
    if plan.pseudo_labels is not None:
        _require_unchanged(plan.pseudo_labels, place)
    folder = RunFolder(place.runs / plan.name)
    resume = folder.config.is_file()
    if folder.path.is_dir() and not resume:  # killed before it had a configuration
        remove_leftovers(folder.path)
        with output_errors(folder.path):
            folder.path.rmdir()
    loop = replace(config.training.loop, seed=plan.seed, iterations=config.training.loop.iterations * plan.rounds)
    recipe: CPSConfig = replace(config.training, loop=loop)
    card = train(_settings(plan, config, place), recipe, registry, device=device, resume=resume)
    return TrainedModel(checkpoint=card.reference, started_from=plan.started_from, dice=card.metrics.get("dice"))


def given_model(reference: str, registry: Registry) -> TrainedModel:
    """A checkpoint that was trained elsewhere, as one of a round. Raises CheckpointError."""
    card = registry.card(reference)
    return TrainedModel(checkpoint=card.reference, dice=card.metrics.get("dice"))


def say_where_fold_was_seen(card: Card, name: str, number: int, config: SelftrainConfig) -> None:
    """Warn of a given first model that may have learned from the fold that its followers are validated on."""
    stores = card.training.get("stores") if not config.data.validation and config.rounds.start == "previous" else None
    fold = f"{number}/{config.rounds.models}"
    if isinstance(stores, dict) and stores.get("fold") != fold:
        logger.warning(
            "%s was not trained without fold %s: later rounds may be judged on cases it learned from.", name, fold
        )


def _settings(plan: ModelPlan, config: SelftrainConfig, place: Workplace) -> RunSettings:
    stored = bool(config.data.validation)
    stores = Stores(
        labelled=(place.store("labelled"),),
        unlabelled=(place.store("unlabelled"),),
        validation=place.store("validation") if stored else None,
        fold=None if stored else f"{plan.number}/{config.rounds.models}",
        pseudo_labels=(place.folder / plan.pseudo_labels.folder,) if plan.pseudo_labels else (),
    )
    settings = replace(config.run, name=plan.name, runs=place.runs, device=config.device, stores=stores)
    if plan.started_from is None:
        return settings
    return replace(settings, init=plan.started_from, encoder_weights=None)  # which the checkpoint's go on from


def _require_unchanged(labels: RoundLabels, place: Workplace) -> None:
    """All models of a round learn from the same labels, those that the state tells of. Raises InputError."""
    ledger = place.folder / labels.folder / LEDGER
    if not ledger.is_file() or sha256(ledger) != labels.ledger_sha256:
        raise InputError(
            f"is missing or has changed since {labels.folder} was labelled",
            where=ledger,
            remedy="Put it back, or start the run in another folder.",
        )


def _seed(config: SelftrainConfig, round_: int, number: int) -> int:
    return config.rounds.seed + (round_ - 1) * config.rounds.models + number - 1
