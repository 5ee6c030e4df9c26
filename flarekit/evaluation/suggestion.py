"""Suggested slices beside evenly spread ones on a labelled case, from its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.config.suggestion import SuggestionConfig
from flarekit.errors import InputError
from flarekit.evaluation.annotator import score_choice, suggested_slices, uniform_slices
from flarekit.evaluation.propagation import propagation_filler
from flarekit.labels import IGNORE, LabelSet
from flarekit.report.slice_numbers import number_in_file
from flarekit.suggestion.carried import Carrier
from flarekit.suggestion.gathering import reference_areas
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid
from flarekit.volumes.formats import stem

VIEWS_MB = 1024  # for the slices' features, which every round uses again


def compare_choices(
    case: Path,
    truth: Path,
    labels: LabelSet,
    propagation: Loaded,
    reference: Loaded | None,
    *,
    slices: int,
    config: SuggestionConfig | None = None,
    device: torch.device,
) -> dict[str, Any]:
    """Dice of propagation from suggested and from evenly spread slices, equally many, as a plain dictionary.

    The suggested ones are drawn one after another by a simulated annotator (see `flarekit.evaluation.annotator`).
    Raises InputError when the files cannot be read, lie on different grids, or hold no organ.
    """
    image = read_volume(case)
    masks = read_labels(truth, like=image)
    require_same_grid(image, masks)
    classes = labels.to_classes(masks.array, where=truth)
    organs = [int(c) for c in np.unique(classes) if c not in (0, IGNORE)]
    if not organs:
        raise InputError("holds no organ", where=truth, remedy="Give the case's true label map.")
    if slices >= len(classes):
        raise InputError(f"has {len(classes)} slices only", where=case, remedy=f"Draw fewer than {slices}.")
    config, carry = config or SuggestionConfig(), replace(PropagationConfig(), views_mb=VIEWS_MB)
    areas = reference_areas(image, reference, labels.names, config, device)
    chosen = suggested_slices(
        image, classes, areas, Carrier(image, propagation, carry, device), config, slices, progress=_progress
    )
    filler = propagation_filler(image, propagation, carry, device)
    choices = {"suggested": chosen, "uniform": uniform_slices(len(classes), slices)}
    return {
        "case": stem(case),
        "model": propagation.card.reference,
        "reference": None if reference is None else reference.card.reference,
        "slices": slices,
        "choices": {
            name: _entry(image, z, score_choice(filler, classes, z, organs), labels) for name, z in choices.items()
        },
    }


def mean_of_choices(reports: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean Dice over cases of either choice."""
    return {name: round(fmean(r["choices"][name]["mean"] for r in reports), 4) for name in reports[0]["choices"]}


def _entry(image: Volume, chosen: Sequence[int], scores: dict[int, float], labels: LabelSet) -> dict[str, Any]:
    organs = {labels.names[organ - 1]: round(value, 4) for organ, value in scores.items()}
    slices = [number_in_file(image, z) for z in chosen]
    return {"mean": round(fmean(scores.values()), 4), "organs": organs, "slices": slices}


def _progress(rounds: range) -> Any:
    return tqdm(rounds, desc="drawing", unit="slice", disable=None, leave=False)
