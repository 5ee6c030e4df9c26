"""How well slices between annotated ones are filled: propagation beside what needs no network.

Every n-th slice of a labelled case is given, every other one is scored. Dice is pooled in 3D over the slices
that were not given, for organs that at least one given slice shows; the mean is taken over these organs and then over
several offsets of the given slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.errors import InputError
from flarekit.evaluation.dice import Overlap
from flarekit.evaluation.rivals import copy_nearest, interpolate
from flarekit.labels import IGNORE
from flarekit.models import STCN
from flarekit.models.layout import laid_out_for
from flarekit.propagation import fill_slices
from flarekit.volumes import Volume

# Annotated classes (H, W) by slice number in, (slice number, classes) of every slice out.
Filler = Callable[[Mapping[int, np.ndarray]], Iterable[tuple[int, np.ndarray]]]


@dataclass(frozen=True, kw_only=True)
class FillScore:
    """Dice of one way to fill slices."""

    organs: dict[int, float]  # by class: mean over the offsets that show the organ
    mean: float  # mean over offsets of the mean over organs


def rival_fillers(depth: int, spacing_mm: tuple[float, float]) -> dict[str, Filler]:
    """Copy and interpolation, for volumes of `depth` slices with this in-plane spacing (h, w)."""
    return {
        "copy": lambda annotated: copy_nearest(annotated, depth),
        "interpolation": lambda annotated: interpolate(annotated, depth, spacing_mm),
    }


def propagation_filler(image: Volume, model: Loaded, config: PropagationConfig, device: torch.device) -> Filler:
    """Propagation with a checkpoint through the CT."""
    network = laid_out_for(model.networks["stcn"].to(device), device)
    assert isinstance(network, STCN)
    slices = VolumeSlices(image, model.card.preprocessing)

    def fill(annotated: Mapping[int, np.ndarray]) -> Iterable[tuple[int, np.ndarray]]:
        shown = _shown(annotated)
        table = np.array((0, *shown), dtype=np.uint8)
        objects = np.zeros(256, dtype=np.uint8)
        objects[shown] = range(1, len(table))
        known = {z: objects[classes] for z, classes in annotated.items()}
        for filled in fill_slices(network, slices, known, len(shown), config):
            yield filled.z, table[filled.classes]

    return fill


def score_filler(filler: Filler, truth: np.ndarray, *, every: int, offsets: int) -> FillScore:
    """The score of filling classes (Z, H, W) from every n-th slice, the first one at `offsets` even steps.

    Raises InputError when no given slice shows an organ or every slice is given, ValueError unless
    1 <= offsets <= every and every > 1.
    """
    if every < 2 or not 1 <= offsets <= every:
        raise ValueError(f"every is at least 2 and offsets lie in 1..every, got {every} and {offsets}")
    runs = [_score_run(filler, truth, range(first, len(truth), every)) for first in first_slices(every, offsets)]
    runs = [run for run in runs if run]
    if not runs:
        raise InputError(
            f"leaves nothing to score when every {every}th slice is given",
            remedy="Give a case with labelled slices, and more of them.",
        )
    found = sorted({organ for run in runs for organ in run})
    return FillScore(
        organs={organ: fmean(run[organ] for run in runs if organ in run) for organ in found},
        mean=fmean(fmean(run.values()) for run in runs),
    )


def first_slices(every: int, offsets: int) -> list[int]:
    """The first given slices of `offsets` runs, evenly stepped through the `every` possible ones."""
    return [step * every // offsets for step in range(offsets)]


def _score_run(filler: Filler, truth: np.ndarray, given: range) -> dict[int, float]:
    """Dice by class of one choice of given slices; empty when they show no organ, or all slices are given."""
    annotated = {z: truth[z] for z in given}
    shown = _shown(annotated)
    if not shown or len(annotated) == len(truth):
        return {}
    organs = int(truth.max())
    overlaps = [Overlap.of(classes, truth[z], organs) for z, classes in filler(annotated) if z not in annotated]
    scores = sum(overlaps[1:], overlaps[0]).dice
    return {organ: float(scores[organ - 1]) for organ in shown}


def _shown(annotated: Mapping[int, np.ndarray]) -> list[int]:
    """The classes that at least one slice shows, ascending."""
    return sorted({int(c) for classes in annotated.values() for c in np.unique(classes)} - {0, IGNORE})
