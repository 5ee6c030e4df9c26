"""Propagation and its rivals on labelled cases, from their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.evaluation.propagation import (
    Filler,
    FillScore,
    first_slices,
    propagation_filler,
    rival_fillers,
    score_filler,
)
from flarekit.labels import LabelSet
from flarekit.volumes import read_labels, read_volume, require_same_grid
from flarekit.volumes.formats import stem


def compare_on_files(
    case: Path,
    truth: Path,
    labels: LabelSet,
    model: Loaded,
    *,
    every: Sequence[int],
    offsets: int,
    config: PropagationConfig | None = None,
    device: torch.device,
) -> dict[str, Any]:
    """Scores of propagation, copy and interpolation for every n-th slice given, as a plain dictionary.

    At most n offsets are taken for every n-th slice. Raises InputError when the files cannot be read, lie on
    different grids, or leave nothing to score.
    """
    image = read_volume(case)
    masks = read_labels(truth, like=image)
    require_same_grid(image, masks)
    classes = labels.to_classes(masks.array, where=truth)
    config = config or PropagationConfig()
    fillers = {"propagation": propagation_filler(image, model, config, device)}
    fillers |= rival_fillers(len(classes), image.spacing_mm[1:])
    return {
        "case": stem(case),
        "model": model.card.reference,
        "methods": list(fillers),
        "results": [_compare(fillers, classes, labels, n, min(offsets, n)) for n in every],
    }


def mean_of_cases(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results of several cases as one: means over cases of what each method scored, without the organs."""
    columns = zip(*(report["results"] for report in reports), strict=True)
    return [_mean_entry(entries, reports[0]["methods"]) for entries in columns]


def _mean_entry(entries: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    first = {"every": entries[0]["every"], "offsets": max(entry["offsets"] for entry in entries)}
    given = {"annotated": round(fmean(entry["annotated"] for entry in entries), 2)}
    return first | given | {m: {"mean": round(fmean(entry[m]["mean"] for entry in entries), 4)} for m in methods}


def _compare(
    fillers: Mapping[str, Filler], truth: np.ndarray, labels: LabelSet, every: int, offsets: int
) -> dict[str, Any]:
    scores = {name: score_filler(filler, truth, every=every, offsets=offsets) for name, filler in fillers.items()}
    given = fmean(len(range(first, len(truth), every)) for first in first_slices(every, offsets))
    return {"every": every, "offsets": offsets, "annotated": round(given, 2)} | {
        name: _entry(s, labels) for name, s in scores.items()
    }


def _entry(score: FillScore, labels: LabelSet) -> dict[str, Any]:
    organs = {labels.names[organ - 1]: round(value, 4) for organ, value in score.organs.items()}
    return {"mean": round(score.mean, 4), "organs": organs}
