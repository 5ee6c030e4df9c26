"""How far masks agree: each mode a comparison of masks, and a formula on the voxels they have in common.

| mode | compares | formula |
| --- | --- | --- |
| dice | every member with the consensus | Dice (the paper, section 2.2) |
| leave-one-out | every member with the consensus of all others | Dice; no member is scored against itself |
| iou | every member with the consensus | IoU over parts of the volume, as the authors' code does |
| instability | the consensus with the previous round's mask | 1 - changed voxels / the organs' voxels now |

The last is what team Blackbean of FLARE22 filtered by, turned round to be a score. All scores lie in 0..1, and more is
better. A case's score is the mean over members and organs; an organ that neither mask shows is left out. Not so `iou`,
which is for comparison with the authors: it counts an organ that a part shows in neither mask as perfect, and so rises
with every organ that is not there. The authors' consensus is the class with most votes (`--combine majority`), and
their parts are a third of the slices each, with what is left over as one more. The score of a case by `instability` is
over all organs at once; where the changes outnumber the organs' voxels it is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from flarekit.consensus.tally import Counts

CONSENSUS, OTHERS, PREVIOUS = "consensus", "others", "previous round"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One mode's scores of a case; NaN where there is none."""

    organs: np.ndarray  # float64 (R, n), by mask compared and organ
    case: float | None  # None when nothing could be compared

    @property
    def organ_means(self) -> np.ndarray:
        """float64 (n,): the mean over the masks that count."""
        return np.array([_nan(mean(column)) for column in self.organs.T])


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to score a case."""

    title: str  # in sentences
    compared_with: str  # CONSENSUS, OTHERS or PREVIOUS
    organs: Callable[[Counts], np.ndarray]  # float64 (R, n), NaN: left out
    case: Callable[[Counts, np.ndarray], float | None]  # from the counts and what `organs` made of them

    def scores(self, counts: Counts) -> Scores:
        """The scores of these counts."""
        organs = self.organs(counts)
        return Scores(organs=organs, case=self.case(counts, organs))


def dice(counts: Counts) -> np.ndarray:
    """float64 (R, n) over the whole volume, NaN where neither mask shows the organ."""
    total = (counts.mask + counts.reference).sum(axis=0)
    return np.where(total > 0, 2 * counts.both.sum(axis=0) / np.maximum(total, 1), np.nan)


def iou(counts: Counts) -> np.ndarray:
    """float64 (R, n): the mean over the volume's parts, of which one that shows the organ in neither mask counts 1."""
    union = counts.mask + counts.reference - counts.both
    return np.where(union > 0, counts.both / np.maximum(union, 1), 1.0).mean(axis=0)


def stability(counts: Counts) -> np.ndarray:
    """float64 (R, n): 1 - the organ's voxels that changed / its voxels now, 0 at least; NaN where it never was."""
    mask, reference, both = (array.sum(axis=0) for array in (counts.mask, counts.reference, counts.both))
    changed = mask + reference - 2 * both
    score = np.clip(1 - changed / np.maximum(mask, 1), 0, 1)
    return np.where(mask + reference > 0, score, np.nan)


def mean(values: np.ndarray) -> float | None:
    """The mean of the values that are not NaN; None without any."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else None


def _mean_of_all(counts: Counts, organs: np.ndarray) -> float | None:
    return mean(organs)


def _whole_stability(counts: Counts, organs: np.ndarray) -> float | None:
    now, changed = int(counts.mask.sum()), int(counts.changed.sum())
    if now == 0:
        return None
    return max(0.0, 1 - changed / now)


def _nan(value: float | None) -> float:
    return np.nan if value is None else value


MODES: Mapping[str, Mode] = {
    "dice": Mode(title="mean Dice", compared_with=CONSENSUS, organs=dice, case=_mean_of_all),
    "leave-one-out": Mode(title="leave-one-out Dice", compared_with=OTHERS, organs=dice, case=_mean_of_all),
    "iou": Mode(title="mean IoU", compared_with=CONSENSUS, organs=iou, case=_mean_of_all),
    "instability": Mode(title="stability", compared_with=PREVIOUS, organs=stability, case=_whole_stability),
}
