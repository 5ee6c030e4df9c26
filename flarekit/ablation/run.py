"""A whole ablation, row by row; what is done of it is on disk, and is not done again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flarekit.ablation.report import RowScores, to_json, to_markdown
from flarekit.ablation.scores import require_same_cases, score_masks
from flarekit.ablation.steps import Workplace
from flarekit.checkpoints import Registry
from flarekit.config.ablation import AblationConfig, AblationRow
from flarekit.config.run import Stores
from flarekit.data.layouts import find_cases
from flarekit.data.store import SliceStore
from flarekit.evaluation.cases import Pair, labelled_cases
from flarekit.evaluation.rules import ScoringRules
from flarekit.files import write_json, write_text
from flarekit.labels import LabelSet
from flarekit.training.data import shared_labels

TABLE, REPORT = "ablation.md", "ablation.json"

logger = logging.getLogger(__name__)


def run_ablation(config: AblationConfig, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train, label, segment and score what the rows need; the report comes back and lies in the folder.

    Rows that share a training or a segmentation share its step. The report is written anew after every row, so that
    what is done can be read. A run that was stopped goes on in the step it was in. Raises InputError, UsageError,
    OutputError, CheckpointError or TrainingError.
    """
    cases, labels = labelled_cases(config.data.images, config.data.labels), _check(config)
    rules = ScoringRules.of(labels, config.tolerance)
    require_same_cases(folder, cases, labels)
    place = Workplace(folder=folder, config=config, labels=labels, device=device, registry=Registry.default())
    done: list[RowScores] = []
    for row in config.rows:
        done.append(_row(place, row, cases, rules))
        report = to_json(done, rules)
        write_json(folder / REPORT, report, overwrite=True)
        write_text(folder / TABLE, to_markdown(done, rules), overwrite=True)
        logger.info("Row %s: mean Dice %s, NSD %s.", row.name, *done[-1].summaries["mean"])
    return report


def _row(place: Workplace, row: AblationRow, cases: Sequence[Pair], rules: ScoringRules) -> RowScores:
    reference = place.reference(row)
    propagation = place.propagation() if row.propagation else None
    masks = place.masks(row, reference, propagation, cases)
    checkpoints = [card.reference for card in (reference, propagation) if card is not None]
    return RowScores(
        row=row, checkpoints=tuple(checkpoints), scores=tuple(score_masks(masks, cases, place.labels, rules))
    )


def _check(config: AblationConfig) -> LabelSet:
    """The organs of the stores. Raises before hours of training what would be raised after them."""
    data = config.data
    stores = Stores(labelled=data.labelled, unlabelled=data.unlabelled, validation=data.validation)
    for path in stores.all:
        SliceStore.open(path)
    if any(row.pseudo_labels for row in config.rows):
        find_cases(data.unlabelled_images)
    if config.propagation_model is not None:
        Registry.default().card(config.propagation_model, kind="propagation")
    return shared_labels(stores)
