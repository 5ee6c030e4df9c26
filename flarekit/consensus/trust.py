"""What is trusted: a case as a whole, or organ by organ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus.score import MODES, Scores
from flarekit.labels import IGNORE


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a case's mask is kept."""

    kept: bool
    reason: str  # in words, for the ledger
    ignored: tuple[int, ...] = ()  # classes that are not trusted in a mask that is kept


def judge(scores: Scores | None, found: np.ndarray, names: Sequence[str], config: ConsensusConfig) -> Verdict:
    """The verdict on a case by its scores, None when the mode has nothing to compare with.

    `found` (n,) bool says which organs any member or the consensus shows: the others are background for everybody,
    and nothing about them is doubted. With `config.per_organ` each organ is judged by its mean over members, and the
    case is kept for the organs that are trusted, one at least; else the case is judged by its score.
    """
    if not found.any():
        return Verdict(kept=False, reason="no member found any organ")
    if scores is None:
        return Verdict(kept=False, reason="the previous round has no mask of it to compare with")
    if config.per_organ:
        return _judge_organs(scores.organ_means, found, names, config.threshold)
    title, threshold = MODES[config.score].title, config.threshold
    if scores.case is None:
        return Verdict(kept=False, reason=f"there is no {title} of it")
    if scores.case < threshold:
        return Verdict(kept=False, reason=f"{title} {scores.case:.3f} lies below {threshold:g}")
    return Verdict(kept=True, reason=f"{title} {scores.case:.3f} reaches {threshold:g}")


def require_certain(verdict: Verdict, classes: np.ndarray, certainty: float) -> Verdict:
    """The verdict on a case whose classes are uint8 (Z, H, W): one without any voxel of an organ teaches nothing."""
    if not verdict.kept or any(bool(((plane > 0) & (plane != IGNORE)).any()) for plane in classes):
        return verdict
    return Verdict(kept=False, reason=f"no voxel of an organ is as certain as {certainty:g}")


def ignore_untrusted(plane: np.ndarray, masks: Sequence[np.ndarray], untrusted: Sequence[int]) -> np.ndarray:
    """A slice of the consensus, uint8 (H, W), with IGNORE wherever an organ that is not trusted may be.

    That is where the consensus or any of the members' masks shows it, except where the consensus shows an organ
    that is trusted. Background that nobody doubts stays background.
    """
    doubtful = np.isin(plane, untrusted)
    background = plane == 0
    for mask in masks:
        doubtful |= background & np.isin(mask, untrusted)
    return np.where(doubtful, np.uint8(IGNORE), plane)


def _judge_organs(means: np.ndarray, found: np.ndarray, names: Sequence[str], threshold: float) -> Verdict:
    untrusted = np.flatnonzero(found & ~(means >= threshold))  # also NaN: a member found it where all others abstain
    trusted = int(found.sum()) - len(untrusted)
    listed = ", ".join(f"{names[int(organ)]} {_number(means[organ])}" for organ in untrusted)
    if trusted == 0:
        return Verdict(kept=False, reason=f"no organ reaches {threshold:g}: {listed}")
    reason = f"{trusted} of {int(found.sum())} organs reach {threshold:g}" + (f"; ignored: {listed}" if listed else "")
    return Verdict(kept=True, reason=reason, ignored=tuple(int(organ) + 1 for organ in untrusted))


def _number(score: float) -> str:
    return "without a score" if np.isnan(score) else f"{score:.3f}"
