"""Whole runs: from stores to a published checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from flarekit.checkpoints import Card, Registry
from flarekit.checkpoints.registry import check_name
from flarekit.config import toml
from flarekit.config.preprocessing import WINDOWS
from flarekit.config.run import RunSettings
from flarekit.data.datasets import Share
from flarekit.errors import UsageError
from flarekit.training.curves import draw_curves
from flarekit.training.data import TrainingData, gather, shared_labels
from flarekit.training.initial import Initial, checkpoint_networks, random_networks, with_encoder_weights
from flarekit.training.lock import only_process
from flarekit.training.loop import Trainer
from flarekit.training.metrics_log import metrics_log, require_tensorboard
from flarekit.training.processes import Processes, make_accelerator
from flarekit.training.pseudo_labels import inherited
from flarekit.training.run_folder import RunFolder
from flarekit.training.tasks import Training, TrainingConfig, training_of

FORMAT = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A run before its first iteration."""

    settings: RunSettings
    training: Training
    initial: Initial
    data: TrainingData
    written: dict[str, Any]  # what `config.toml` says
    unset: tuple[str, ...]  # settings without a value, which TOML cannot say


def train(
    settings: RunSettings,
    config: TrainingConfig,
    registry: Registry,
    *,
    device: torch.device | None = None,
    resume: bool = False,
) -> Card:
    """Train as the type of `config` says and publish the best validation; its card comes back.

    `resume` goes on with the run of this name, and leaves one that is finished as it is; without it the run has to be
    new. Of several processes all but the first publish nothing: their card has version 0. Without `device` the CPU
    computes. Raises InputError, UsageError, OutputError, CheckpointError, MissingDependency or TrainingError.
    """
    check_name(settings.name)
    if settings.tensorboard:
        require_tensorboard()
    accelerator = make_accelerator(device or torch.device("cpu"), config.loop.precision)
    with accelerator.main_process_first():  # which alone brings pseudo-labels into the form that is read
        plan = _plan(settings, config, registry)
    folder = RunFolder(settings.runs / settings.name)
    if resume:
        folder.require_same(plan.written, defaults=_defaults(config))
        if (reference := folder.published_as()) is not None:
            logger.info("Run %s is already finished: it was published as %s.", settings.name, reference)
            return registry.card(reference)
    share = Share(process=accelerator.process_index, processes=accelerator.num_processes)
    task = plan.training.make_task(plan.initial.networks, plan.data, share)
    with _held(folder, plan, accelerator, resume=resume) as state:
        trainer = Trainer(task, folder, accelerator, state)
        done, tensorboard = trainer.progress.iteration, settings.tensorboard and accelerator.is_main_process
        if accelerator.is_main_process:
            folder.truncate_metrics(done)
            _announce(plan, done, resume=resume)
        with metrics_log(folder, tensorboard=tensorboard, done=done) as trainer.record:
            score = trainer.run()
        return _publish(plan, folder, registry, score or {}) if accelerator.is_main_process else _card(plan, {})


def _plan(settings: RunSettings, config: TrainingConfig, registry: Registry) -> _Plan:
    training = training_of(config)
    initial = _initial(training, settings, config, registry)
    data = gather(settings.stores, initial.preprocessing, seed=config.loop.seed)
    initial = _taught(initial, data, registry, challenge=settings.challenge)
    written = _describe(training, settings, config, initial, data)
    unset = (*toml.unset(settings), *toml.unset(config, prefix="training."))
    return _Plan(settings=settings, training=training, initial=initial, data=data, written=written, unset=unset)


def _initial(training: Training, settings: RunSettings, config: TrainingConfig, registry: Registry) -> Initial:
    labels, seed = shared_labels(settings.stores), config.loop.seed
    if settings.init is not None:
        initial = checkpoint_networks(
            training.kind, settings.init, registry,
            labels=labels, seed=seed, networks=training.networks, arch=settings.arch, challenge=settings.challenge,
        )  # fmt: skip
    else:
        initial = random_networks(
            training.kind, settings.arch, classes=labels.classes, seed=seed, networks=training.networks
        )
    if settings.encoder_weights is not None:
        if settings.challenge:
            raise UsageError("--challenge refuses --encoder-weights", remedy="Leave one of them out.")
        initial = with_encoder_weights(initial, settings.encoder_weights)
    if settings.windows is None:
        return initial
    return replace(initial, preprocessing=replace(initial.preprocessing, windows=WINDOWS[settings.windows]))


def _taught(initial: Initial, data: TrainingData, registry: Registry, *, challenge: bool) -> Initial:
    """The same networks; their provenance holds what those saw whose labels they learn from, and painted CTs."""
    provenance = inherited(initial.provenance, [part.labels for part in data.pseudo_labels], registry)
    if challenge and provenance.pretrained_or_extra_data:
        raise UsageError(
            f"--challenge refuses pseudo-labels of models that saw extra data ({'; '.join(provenance.data)})",
            remedy="Label with checkpoints that were trained from random weights on the challenge's own data.",
        )
    if challenge and data.painted:
        raise UsageError(
            f"--challenge refuses painted CTs ({', '.join(data.painted)})", remedy="Train on the challenge's own CTs."
        )
    extra = provenance.pretrained_or_extra_data or bool(data.painted)
    return replace(initial, provenance=replace(provenance, pretrained_or_extra_data=extra))


@contextmanager
def _held(folder: RunFolder, plan: _Plan, accelerator: Processes, *, resume: bool) -> Iterator[dict[str, Any] | None]:
    """Makes or opens the run's folder, for these processes alone; the state to go on from comes back."""
    if not resume and accelerator.is_main_process:
        folder.begin(plan.written, unset=plan.unset)
    accelerator.wait_for_everyone()
    with only_process(folder.lock) if accelerator.is_main_process else nullcontext():
        yield folder.last_state() if resume else None


def _publish(plan: _Plan, folder: RunFolder, registry: Registry, metrics: dict[str, Any]) -> Card:
    if find_spec("matplotlib") is None:
        logger.warning("%s is not drawn: matplotlib is not installed.", folder.curves.name)
    else:
        draw_curves(folder.metrics, folder.curves)
    card = registry.publish(_card(plan, metrics), plan.initial.networks)
    folder.finish(card.reference)
    return card


def _card(plan: _Plan, metrics: dict[str, Any]) -> Card:
    initial, settings = plan.initial, plan.settings
    names = [folder.resolve().name for folder in settings.stores.all]
    names = [f"{name} (painted CTs)" if name in plan.data.painted else name for name in names]
    return Card(
        kind=plan.training.kind,
        name=settings.name,
        networks=initial.configs,
        preprocessing=initial.preprocessing,
        labels=plan.data.labels,
        training=_without_paths(plan.written),
        metrics=metrics,
        provenance=replace(initial.provenance, data=tuple(dict.fromkeys((*initial.provenance.data, *names)))),
        parents=tuple(dict.fromkeys((*initial.parents, *_teachers(plan.data)))),
    )


def _teachers(data: TrainingData) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in data.pseudo_labels for name in part.labels.teachers))


def _without_paths(written: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run for its checkpoint, which says of folders and files only what they are called."""
    kept = {key: value for key, value in written.items() if key not in ("runs", "device")}
    if "encoder_weights" in kept:
        kept["encoder_weights"] = Path(kept["encoder_weights"]).name
    stores = dict(written["stores"])
    for role in ("labelled", "unlabelled", "pseudo_labels"):
        stores[role] = [Path(folder).resolve().name for folder in stores[role]]
    if "validation" in stores:
        stores["validation"] = Path(stores["validation"]).resolve().name
    return kept | {"stores": stores}


def _describe(
    training: Training, settings: RunSettings, config: TrainingConfig, initial: Initial, data: TrainingData
) -> dict[str, Any]:
    """What `config.toml` says: every setting, and under `found` what the run made of them."""
    if initial.parents:  # with the version: a newer one may be there when the run is resumed
        settings = replace(settings, init=", ".join(initial.parents))
    return {
        "format": FORMAT,
        "command": training.command,
        **toml.to_dict(settings),
        "training": toml.to_dict(config),
        "found": {
            "labelled_cases": len(data.labelled),
            "unlabelled_cases": len(data.unlabelled),
            "validation_cases": len(data.validation),
            "cases_sha256": data.fingerprint(),
            "preprocessing": toml.to_dict(initial.preprocessing),
            **_found_pseudo_labels(data),
        },
    }


def _found_pseudo_labels(data: TrainingData) -> dict[str, Any]:
    """What was learned from pseudo-labels, folder by folder; nothing where there are none."""
    if not data.pseudo_labels:
        return {}
    return {
        "pseudo_labels": {
            "cases": [len(part.cases) for part in data.pseudo_labels],
            "rounds": [part.labels.settings.round for part in data.pseudo_labels],
            "ledgers_sha256": [part.labels.ledger_sha256 for part in data.pseudo_labels],
            "members": [member.name for part in data.pseudo_labels for member in part.labels.settings.members],
        }
    }


def _defaults(config: TrainingConfig) -> dict[str, Any]:
    return {**toml.to_dict(RunSettings()), "training": toml.to_dict(type(config)())}


def _announce(plan: _Plan, done: int, *, resume: bool) -> None:
    data, word = plan.data, f"resumes after iteration {done}" if done else "starts"
    if resume and not done:
        word = "was stopped before its first state and starts"
    pseudo = sum(len(part.cases) for part in data.pseudo_labels)
    logger.info(
        "Run %s %s: %d labelled, %s%d unlabelled, %d validation cases.",
        plan.settings.name, word, len(data.labelled) - pseudo, f"{pseudo} pseudo-labelled, " if pseudo else "",
        len(data.unlabelled), len(data.validation),
    )  # fmt: skip
    if not data.validation:
        logger.warning("No case to validate on: the last iteration is published, whatever it is worth.")
