"""Test Dice of each round and of the control, and what later ones gain, with intervals over cases.

The models of a round are averaged within a case first: cases are what the bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from flarekit.evaluation import CaseScores
from flarekit.evaluation.bootstrap import Estimate, mean_over_cases
from flarekit.evaluation.dice import scored_organs

MEAN = "mean"  # over the organs of a case, beside the organs


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A round, or the control, on the test cases."""

    dice: dict[str, float]  # by organ, and the mean over cases of their means over organs
    spread: float | None  # standard deviation of the models' means; None of one model
    cases: dict[str, dict[str, float]]  # by case: Dice by organ and their mean, averaged over models


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much higher one arm's Dice is than another's on the same cases."""

    of: str
    over: str
    dice: dict[str, Estimate]  # by organ, and of the mean over organs


def arm_of(models: Sequence[Sequence[CaseScores]]) -> Arm:
    """The scores of an arm's models, each on the same cases in the same order."""
    organs = scored_organs(models[0])
    cases = {scores[0].case: _case(scores) for scores in zip(*models, strict=True)}
    columns = {name: [case[name] for case in cases.values() if name in case] for name in (*organs, MEAN)}
    means = [fmean(case.mean for case in model) for model in models]
    return Arm(
        dice={name: fmean(column) for name, column in columns.items()},
        spread=stdev(means) if len(means) > 1 else None,
        cases=cases,
    )


def gain(arms: Mapping[str, Arm], of: str, over: str) -> Gain:
    """What one of the arms gains over another, organ by organ on the cases that have it (a paired bootstrap)."""
    pairs = [(case, arms[over].cases[name]) for name, case in arms[of].cases.items()]
    return Gain(
        of=of,
        over=over,
        dice={
            name: mean_over_cases(np.array([case[name] - other[name] for case, other in pairs if name in case]))
            for name in arms[of].dice
        },
    )


def to_json(arms: Mapping[str, Arm], gains: Sequence[Gain]) -> dict[str, Any]:
    """Arms and gains as plain dictionaries."""
    return {"arms": {name: asdict(arm) for name, arm in arms.items()}, "gains": [asdict(each) for each in gains]}


def markdown(arms: Mapping[str, Arm], gains: Sequence[Gain]) -> str:
    """A table for people: Dice of each arm by organ, and gains with their 95 % intervals."""
    titles = [*arms, *(f"{each.of} over {each.over} (95 % interval)" for each in gains)]
    rows = [f"| organ | {' | '.join(titles)} |", "| --- |" + " --- |" * len(titles)]
    for name in next(iter(arms.values())).dice:
        cells = [f"{arm.dice[name]:.3f}" for arm in arms.values()]
        cells += [cell(each.dice[name]) for each in gains]
        rows.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def cell(estimate: Estimate) -> str:
    """A gain with its interval, as +0.031 (+0.012 to +0.050)."""
    return f"{estimate.mean:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _case(scores: Sequence[CaseScores]) -> dict[str, float]:
    organs = {organ: fmean(each.dice[organ] for each in scores) for organ in scores[0].dice}
    return organs | {MEAN: fmean(organs.values())}
