"""One case labelled by several members, slice by slice.

Of the volume there are the CT, the consensus as classes and, where it is asked for, the uncertainty in bytes. Of
probabilities there are the members' on one slice and on the few that a network labels at once; of the members' masks
counts, and where organs may have to be ignored afterwards a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus.members import Member
from flarekit.consensus.score import CONSENSUS, MODES, OTHERS, PREVIOUS, Scores
from flarekit.consensus.spool import Spool, spool
from flarekit.consensus.tally import Tally
from flarekit.consensus.trust import Verdict, ignore_untrusted, judge, require_certain
from flarekit.consensus.vote import Decision, Vote, certain_alone, decide, mean_probabilities
from flarekit.errors import InputError
from flarekit.labels import LabelSet
from flarekit.reference.uncertainty import entropy
from flarekit.volumes import Volume
from flarekit.volumes.maps import in_steps


@dataclass(frozen=True, kw_only=True)
class LabelledCase:
    """The consensus on a case, what it is worth, and what is kept of it."""

    classes: np.ndarray  # uint8 (Z, H, W), IGNORE where an organ or the voxel is not trusted, or everybody abstains
    scores: Mapping[str, Scores]  # by mode; those that can be had
    verdict: Verdict
    uncertainty: np.ndarray | None  # uint8 (Z, H, W) in steps of 1/255; None where it was not asked for


def label_case(
    volume: Volume,
    members: Mapping[str, Member],
    case: str,
    labels: LabelSet,
    config: ConsensusConfig,
    *,
    scratch: Path,
    previous: Member | None = None,
) -> LabelledCase:
    """The consensus of at least two members, by name, on a CT.

    `previous` has the masks of the round before, which `instability` compares with. `scratch` is a folder for files
    without a name. Raises FlarekitError, by a member's name where it alone cannot label the case.
    """
    depth, *plane = volume.array.shape
    classes = np.zeros(volume.array.shape, dtype=np.uint8)
    uncertainty = np.zeros_like(classes) if config.uncertainty else None
    comparison = _Comparison(len(members), len(labels.names), depth)
    streams = [_named(name, member.votes(volume, case, scratch)) for name, member in members.items()]
    before = previous.votes(volume, case, scratch) if previous else None
    with spool(scratch, (len(members), *plane)) as masks:
        slices = tqdm(zip(*streams, strict=True), total=depth, unit="slice", disable=None, leave=False)
        for z, votes in enumerate(slices):
            decision = decide(votes, labels.classes, config.combine)
            classes[z] = decision.consensus
            comparison.add(z, votes, decision, next(before).classes if before else None)
            if uncertainty is not None or config.certainty:
                mean = mean_probabilities(votes, labels.classes)
                classes[z] = certain_alone(decision.consensus, mean, config.certainty)
            if uncertainty is not None:
                uncertainty[z] = in_steps(entropy(mean).numpy())
            if config.per_organ:
                masks[z] = np.stack([vote.classes for vote in votes])
        scores = comparison.scores()
        verdict = judge(scores.get(config.score), comparison.found(), labels.names, config)
        if verdict.ignored:
            _ignore(classes, masks, verdict.ignored)
    if config.certainty:
        verdict = require_certain(verdict, classes, config.certainty)
    return LabelledCase(classes=classes, scores=scores, verdict=verdict, uncertainty=uncertainty)


class _Comparison:
    """Counts of the masks beside all that any mode compares them with."""

    def __init__(self, members: int, organs: int, depth: int) -> None:
        rows = {CONSENSUS: members, OTHERS: members, PREVIOUS: 1}
        self._tallies = {kind: Tally(count, organs, depth) for kind, count in rows.items()}
        self._has_previous = False

    def add(self, z: int, votes: Sequence[Vote], decision: Decision, previous: np.ndarray | None) -> None:
        """A slice's votes, what they came to, and what the previous round had there."""
        masks = [vote.classes for vote in votes]
        self._tallies[CONSENSUS].add(z, masks, [decision.consensus] * len(masks))
        self._tallies[OTHERS].add(z, masks, decision.others)
        if previous is not None:
            self._has_previous = True
            self._tallies[PREVIOUS].add(z, [decision.consensus], [previous])

    def found(self) -> np.ndarray:
        """bool (n,): the organs that any member, or the consensus, shows anywhere."""
        counts = self._tallies[CONSENSUS].counts()
        return (counts.mask + counts.reference).any(axis=(0, 1))

    def scores(self) -> dict[str, Scores]:
        """The scores of every mode whose comparison there was."""
        counts = {kind: tally.counts() for kind, tally in self._tallies.items()}
        modes = {name: mode for name, mode in MODES.items() if mode.compared_with != PREVIOUS or self._has_previous}
        return {name: mode.scores(counts[mode.compared_with]) for name, mode in modes.items()}


def _named(name: str, votes: Iterator[Vote]) -> Iterator[Vote]:
    """The votes; what torch raises when a network fails on a case becomes that case's InputError."""
    try:
        yield from votes
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"takes more memory than the device of {name} has", remedy="Run it with --device cpu, or fewer --workers."
        ) from error
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise InputError(f"{name} fails on it ({first})", remedy="Leave the case out, or that member.") from error


def _ignore(classes: np.ndarray, masks: Spool, untrusted: Sequence[int]) -> None:
    for z, plane in enumerate(classes):
        classes[z] = ignore_untrusted(plane, list(masks[z]), untrusted)
