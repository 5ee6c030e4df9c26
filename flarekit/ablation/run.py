"""A whole ablation, row by row; what is done of it is on disk, and is not done again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flarekit.ablation.report import RowScores, to_json, to_markdown
from flarekit.ablation.scores import Truth, mean_seconds, require_same_cases, score_masks
from flarekit.ablation.steps import Workplace
from flarekit.checkpoints import Registry
from flarekit.config.ablation import AblationConfig, AblationRow
from flarekit.config.run import Stores
from flarekit.data.apart import require_apart
from flarekit.data.layouts import LabelledOrgans, find_cases
from flarekit.data.store import SliceStore
from flarekit.errors import UsageError
from flarekit.evaluation.cases import Pair, labelled_cases
from flarekit.evaluation.rules import ScoringRules
from flarekit.files import write_json, write_text
from flarekit.training.data import shared_labels

TABLE, REPORT = "ablation.md", "ablation.json"

logger = logging.getLogger(__name__)


def run_ablation(config: AblationConfig, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train, label, segment and score what the rows need; the report comes back and lies in the folder.

    Rows that share a training or a segmentation share its step. The report is written anew after every row, so that
    what is done can be read. A run that was stopped goes on in the step it was in. Raises InputError, UsageError,
    OutputError, CheckpointError or TrainingError.
    """
    cases, truth = labelled_cases(config.data.images, config.data.labels), _check(config)
    tests = require_same_cases(folder, cases, truth.labels)
    if config.trains:
        require_apart(tests, _stores(config).all)
    place = Workplace(folder=folder, config=config, labels=truth.labels, device=device, registry=Registry.default())
    done: list[RowScores] = []
    for row in config.rows:
        done.append(_row(place, row, cases, truth))
        report = to_json(done, truth.rules)
        write_json(folder / REPORT, report, overwrite=True)
        write_text(folder / TABLE, to_markdown(done, truth.rules), overwrite=True)
        logger.info("Row %s: mean Dice %s, NSD %s.", row.name, *done[-1].summaries["mean"])
    return report


def _row(place: Workplace, row: AblationRow, cases: Sequence[Pair], truth: Truth) -> RowScores:
    reference = place.reference(row)
    propagation = place.propagation() if row.propagation else None
    masks = place.masks(row, reference, propagation, cases)
    return RowScores(
        row=row,
        reference=reference,
        propagation=propagation,
        scores=tuple(score_masks(masks, cases, truth)),
        seconds=mean_seconds(masks, cases),
    )


def _check(config: AblationConfig) -> Truth:
    """What the cases are scored by. Raises before hours of training what would be raised after them."""
    data, registry, stores = config.data, Registry.default(), _stores(config)
    for path in stores.all:
        SliceStore.open(path)
    if any(row.pseudo_labels and row.model is None for row in config.rows):
        find_cases(data.unlabelled_images)
    if config.propagation_model is not None:
        registry.card(config.propagation_model, kind="propagation")
    known = [registry.card(row.model, kind="reference").labels for row in config.rows if row.model is not None]
    labels = replace(shared_labels(stores) if config.trains else known[0], ignore_id=None)
    if not all(each.same_organs(labels) for each in known):
        raise UsageError("the rows segment other organs than one another", remedy="Compare what has the same organs.")
    labelled = LabelledOrgans.read(data.dataset, labels) if data.dataset else LabelledOrgans(default=labels.parse(None))
    return Truth(labels=labels, labelled=labelled, rules=ScoringRules.of(labels, config.tolerance))


def _stores(config: AblationConfig) -> Stores:
    data = config.data
    return Stores(labelled=data.labelled, unlabelled=data.unlabelled, validation=data.validation)
