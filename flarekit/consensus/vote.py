"""From several members' votes on a slice to their consensus.

Where all members give a pixel the same class, this is the consensus, whatever the probabilities: only the pixels
they disagree on are counted. Ties: two classes with the same number of votes, or the same sum of probabilities, are
told apart by the sum of probabilities; if that is equal too, the first in the label set wins, and background before
all organs. A label map's vote is as sure as can be: probability 1. A member that ignores a pixel abstains there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from flarekit.labels import IGNORE

_PIXELS_AT_ONCE = 1 << 14  # of disputed ones, so that memory stays small where members agree on nothing


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One member's answer for a slice."""

    classes: np.ndarray  # uint8 (H, W); IGNORE: it abstains
    probabilities: Tensor | None = None  # float32 (C, H, W) on the CPU, of which `classes` is the largest; None: sure


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a slice's votes come to; arrays are uint8 (H, W), IGNORE where nobody votes."""

    consensus: np.ndarray
    others: tuple[np.ndarray, ...]  # for every member, the consensus of all others


def decide(votes: Sequence[Vote], classes: int, combine: str) -> Decision:
    """The consensus of at least two votes over so many classes, `combine` as in `ConsensusConfig`."""
    agreed = votes[0].classes
    results = [agreed.copy() for _ in range(1 + len(votes))]  # the consensus, and that of the others of each
    disputed = torch.from_numpy(np.flatnonzero(_is_disputed([vote.classes for vote in votes])))
    for pixels in disputed.split(_PIXELS_AT_ONCE):
        ballots = [_ballot(vote, pixels, classes, combine, len(votes)) for vote in votes]
        for result, ballot in zip(results, _sums(ballots), strict=True):
            result.ravel()[pixels.numpy()] = _winners(ballot)
    return Decision(consensus=results[0], others=tuple(results[1:]))


def mean_probabilities(votes: Sequence[Vote], classes: int) -> Tensor:
    """float32 (C, H, W): the mean over the members that do not abstain; all classes alike where everybody does."""
    shape = (classes, *votes[0].classes.shape)
    total, voters = torch.zeros(shape), torch.zeros(shape[1:])
    for vote in votes:
        total += vote.probabilities if vote.probabilities is not None else _one_hot(vote.classes, classes)
        voters += torch.from_numpy(vote.classes != IGNORE)
    return torch.where(voters > 0, total / voters.clamp_min(1), 1.0 / classes)


def certain_alone(consensus: np.ndarray, mean: Tensor, certainty: float) -> np.ndarray:
    """A slice of the consensus, uint8 (H, W), IGNORE where its class has less than `certainty` in `mean` (C, H, W)."""
    chosen = torch.from_numpy(consensus).long().clamp_max(len(mean) - 1)
    sure = mean.gather(0, chosen[None])[0] >= certainty
    return np.where(sure.numpy(), consensus, np.uint8(IGNORE))


def _is_disputed(masks: Sequence[np.ndarray]) -> np.ndarray:
    """bool (H, W): not all masks say the same; where all of them ignore a pixel, so does the consensus."""
    disputed = np.zeros(masks[0].shape, dtype=bool)
    for mask in masks[1:]:
        disputed |= mask != masks[0]
    return disputed


def _ballot(vote: Vote, pixels: Tensor, classes: int, combine: str, voters: int) -> Tensor:
    """float32 (C, P): the weight of each class at the pixels (P,), numbered row by row; 0 where the member abstains.

    For the majority, a vote weighs more than the probabilities of all voters together, which thus only break ties.
    """
    sure = None if vote.probabilities is None else vote.probabilities.flatten(1)[:, pixels]
    if combine == "probabilities" and sure is not None:
        return sure
    chosen = _one_hot(vote.classes.ravel()[pixels.numpy()], classes)
    if combine == "probabilities":
        return chosen
    return chosen * (voters + 1) + (chosen if sure is None else sure)


def _one_hot(classes: np.ndarray, count: int) -> Tensor:
    """float32 (count, *shape); all 0 for IGNORE."""
    known = torch.arange(count, dtype=torch.uint8).view(-1, *(1,) * classes.ndim)
    return (torch.from_numpy(np.ascontiguousarray(classes))[None] == known).float()


def _sums(ballots: Sequence[Tensor]) -> Iterator[Tensor]:
    """The sum of all, then for each the sum of all others: of what comes before it and of what comes after."""
    before = list(accumulate(ballots))
    after = list(accumulate(reversed(ballots)))[::-1]
    yield before[-1]
    yield after[1]
    yield from (before[m - 1] + after[m + 1] for m in range(1, len(ballots) - 1))
    yield before[-2]


def _winners(ballots: Tensor) -> np.ndarray:
    """uint8 (P,): the first of the heaviest classes of ballots (C, P), IGNORE where nobody votes."""
    heaviest, winner = ballots.max(dim=0)
    return torch.where(heaviest > 0, winner, IGNORE).to(torch.uint8).numpy()
