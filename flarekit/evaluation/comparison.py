"""Propagation and its rivals on a labelled case, from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.evaluation.propagation import (
    Filler,
    FillScore,
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


def _compare(
    fillers: Mapping[str, Filler], truth: np.ndarray, labels: LabelSet, every: int, offsets: int
) -> dict[str, Any]:
    scores = {name: score_filler(filler, truth, every=every, offsets=offsets) for name, filler in fillers.items()}
    return {"every": every, "offsets": offsets} | {name: _entry(s, labels) for name, s in scores.items()}


def _entry(score: FillScore, labels: LabelSet) -> dict[str, Any]:
    organs = {labels.names[organ - 1]: round(value, 4) for organ, value in score.organs.items()}
    return {"mean": round(score.mean, 4), "organs": organs}
