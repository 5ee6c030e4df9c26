"""Dice per organ, as FLARE22 counts it: an organ absent from both masks scores 1, from one of them 0."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from flarekit.labels import IGNORE


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Voxels of each organ in a prediction, in the truth, and in both. Overlaps of slices add up to a volume's."""

    predicted: np.ndarray  # (organs,) int64
    true: np.ndarray  # (organs,) int64
    both: np.ndarray  # (organs,) int64

    @classmethod
    def of(cls, predicted: np.ndarray, true: np.ndarray, organs: int) -> Overlap:
        """The overlap of two arrays of classes of one shape; voxels whose true class is IGNORE do not count.

        Raises ValueError when the shapes differ.
        """
        if predicted.shape != true.shape:
            raise ValueError(f"shapes differ: {predicted.shape} and {true.shape}")
        known = true != IGNORE
        predicted, true = predicted[known], true[known]
        return cls(
            predicted=_voxels(predicted, organs),
            true=_voxels(true, organs),
            both=_voxels(true[predicted == true], organs),
        )

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            predicted=self.predicted + other.predicted, true=self.true + other.true, both=self.both + other.both
        )

    @property
    def dice(self) -> np.ndarray:
        """(organs,) float64 in 0..1; 1 where an organ is in neither mask."""
        total = self.predicted + self.true
        return np.where(total > 0, 2 * self.both / np.maximum(total, 1), 1.0)


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """Dice of one case, and normalised surface Dice where it was taken."""

    case: str  # its name
    dice: dict[str, float]  # by organ; those that the case is not labelled for are left out
    nsd: dict[str, float] = field(default_factory=dict)  # by organ; those without a tolerance are left out too
    absent: frozenset[str] = frozenset()  # organs that the truth does not show

    @property
    def mean(self) -> float:
        """The mean Dice over organs."""
        return fmean(self.dice.values())

    @property
    def mean_nsd(self) -> float | None:
        """The mean NSD over organs; None without one."""
        return fmean(self.nsd.values()) if self.nsd else None

    def only(self, organs: Collection[str]) -> CaseScores:
        """The scores of these organs."""
        return CaseScores(
            case=self.case,
            dice={organ: value for organ, value in self.dice.items() if organ in organs},
            nsd={organ: value for organ, value in self.nsd.items() if organ in organs},
            absent=self.absent.intersection(organs),
        )


def dice(predicted: np.ndarray, true: np.ndarray, organs: int) -> np.ndarray:
    """(organs,) Dice of each organ from two arrays of classes (0 background, 1..organs, IGNORE in the truth)."""
    return Overlap.of(predicted, true, organs).dice


def score_case(case: str, predicted: np.ndarray, true: np.ndarray, organs: Sequence[str]) -> CaseScores:
    """The scores of a case from two arrays of classes; `organs` are the names in class order."""
    overlap = Overlap.of(predicted, true, len(organs))
    absent = (organ for organ, voxels in zip(organs, overlap.true, strict=True) if not voxels)
    return CaseScores(case=case, dice=dict(zip(organs, overlap.dice.tolist(), strict=True)), absent=frozenset(absent))


def organ_means(scores: Sequence[CaseScores]) -> dict[str, float]:
    """The mean of every organ over the cases that have it. Raises ValueError without a case."""
    if not scores:
        raise ValueError("a mean needs at least one case")
    return {organ: fmean(case.dice[organ] for case in scores if organ in case.dice) for organ in scored_organs(scores)}


def scored_organs(scores: Sequence[CaseScores]) -> tuple[str, ...]:
    """The organs that at least one case has, in the order of the fullest cases."""
    fullest_first = sorted(scores, key=lambda case: -len(case.dice))
    return tuple(dict.fromkeys(organ for case in fullest_first for organ in case.dice))


def never_in_truth(scores: Sequence[CaseScores]) -> tuple[str, ...]:
    """The organs that were drawn, and that no truth shows: a truth without labels of theirs, maybe."""
    drawn = {organ for case in scores for organ in case.absent if case.dice[organ] == 0}
    shown = {organ for case in scores for organ in case.dice if organ not in case.absent}
    return tuple(organ for organ in scored_organs(scores) if organ in drawn - shown)


def _voxels(classes: np.ndarray, organs: int) -> np.ndarray:
    return np.bincount(classes, minlength=IGNORE + 1)[1 : organs + 1]
