"""What a consensus score is worth, in numbers: as a plain dictionary, as tables, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from flarekit.evaluation.consensus import Judged, JudgedCase, modes_of
from flarekit.evaluation.correlation import BestShare, Interval, best_share, spearman

_CASES_A_BIN, _MOST_BINS = 5, 10


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well a score ranks some cases by their true Dice."""

    cases: int
    score: float  # mean
    dice: float  # mean
    spearman: Interval | None  # None with fewer than three cases, or where either is constant
    best: BestShare

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, numbers to four decimals."""
        return {
            "cases": self.cases,
            "score": round(self.score, 4),
            "dice": round(self.dice, 4),
            "spearman": _interval(self.spearman),
            "best": {
                "cases": self.best.cases,
                "dice": round(self.best.dice, 4),
                "gain": _interval(self.best.gain),
            },
        }

    def row(self) -> tuple[object, ...]:
        """Cells under COLUMNS, but for the first."""
        return (self.cases, self.score, self.dice, self.spearman, self.best.dice, self.best.gain)


COLUMNS = ("", "cases", "score", "true Dice", "Spearman (95 %)", "best-scored", "gain (95 %)")


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Cases of about the same score."""

    cases: int
    lowest: float  # score
    highest: float
    score: float  # mean
    dice: float  # mean

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, numbers to four decimals."""
        return {name: round(value, 4) for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class ConsensusReport:
    """Everything that is said of some ledgers' scores."""

    mode: str  # the score that is reported on
    share: float  # of the cases, the best-scored
    overall: Quality
    kinds: dict[str, Quality]
    organs: dict[str, Quality]  # over the cases in which the organ has a score
    unscored: dict[str, int]  # by organ: cases whose truth or mask shows it, and that have no score of it
    modes: dict[str, Quality]  # overall, by every score that all cases have
    kept: Quality | None  # cases that the rounds kept; None without any
    bins: tuple[Bin, ...]  # from the lowest scores to the highest

    def to_json(self, judged: Judged) -> dict[str, Any]:
        """A plain dictionary with every case besides."""
        tables = {name: getattr(self, name) for name in ("kinds", "organs", "modes")}
        return {
            "mode": self.mode,
            "share": self.share,
            "overall": self.overall.to_json(),
            **{name: {key: quality.to_json() for key, quality in table.items()} for name, table in tables.items()},
            "unscored": self.unscored,
            "kept": None if self.kept is None else self.kept.to_json(),
            "calibration": [one.to_json() for one in self.bins],
            "cases": [_case(case) for case in judged.cases],
            "left_out": judged.left_out,
        }


def report_on(judged: Judged, *, mode: str, share: float, seed: int = 0) -> ConsensusReport:
    """The report on one of the modes that all cases have a score of. Raises ValueError on another."""
    if mode not in modes_of(judged.cases):
        raise ValueError(f"cases are scored by {', '.join(modes_of(judged.cases))}, not by {mode!r}")

    def quality(cases: Sequence[JudgedCase], by: str = mode) -> Quality:
        return quality_of([(case.scores[by], case.dice, case.case) for case in cases], share, seed)

    organs = tuple(dict.fromkeys(organ for case in judged.cases for organ in case.organs))
    found = {organ: [case for case in judged.cases if organ in case.organs] for organ in organs}
    scored = {organ: [case for case in cases if mode in case.organs[organ].scores] for organ, cases in found.items()}
    kept = [case for case in judged.cases if case.kept]
    return ConsensusReport(
        mode=mode,
        share=share,
        overall=quality(judged.cases),
        kinds={
            kind: quality([case for case in judged.cases if case.kind == kind])
            for kind in dict.fromkeys(case.kind for case in judged.cases)
        },
        organs={
            organ: quality_of(
                [(c.organs[organ].scores[mode], c.organs[organ].dice, c.case) for c in cases], share, seed
            )
            for organ, cases in scored.items()
            if cases
        },
        unscored={organ: n for organ, cases in found.items() if (n := len(cases) - len(scored[organ]))},
        modes={other: quality(judged.cases, other) for other in modes_of(judged.cases)},
        kept=quality(kept) if kept else None,
        bins=_bins([(case.scores[mode], case.dice) for case in judged.cases]),
    )


def to_csv(judged: Judged) -> str:
    """One line a case and organ, and one a case whose organ is empty; scores that could not be had are empty."""
    modes = tuple(dict.fromkeys(mode for case in judged.cases for mode in case.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("kind", "case", "kept", "organ", "true_dice", *modes))
    for case in judged.cases:
        entries = {"": (case.dice, case.scores)} | {name: (o.dice, o.scores) for name, o in case.organs.items()}
        for organ, (dice, scores) in entries.items():
            cells = (f"{scores[mode]:.4f}" if mode in scores else "" for mode in modes)
            writer.writerow((case.kind, case.case, int(case.kept), organ, f"{dice:.4f}", *cells))
    return text.getvalue()


def quality_of(rows: Sequence[tuple[float, float, str]], share: float, seed: int = 0) -> Quality:
    """From (score, Dice, anatomy) of each case. Raises ValueError without one."""
    scores, dice = np.array([row[:2] for row in rows], dtype=np.float64).T
    anatomies = [row[2] for row in rows]
    return Quality(
        cases=len(rows),
        score=float(scores.mean()),
        dice=float(dice.mean()),
        spearman=spearman(scores, dice, anatomies, seed=seed),
        best=best_share(scores, dice, anatomies, share=share, seed=seed),
    )


def _bins(rows: Sequence[tuple[float, float]]) -> tuple[Bin, ...]:
    """Cases in the order of their scores, about as many in each bin."""
    ordered = sorted(rows)
    count = min(_MOST_BINS, max(1, len(ordered) // _CASES_A_BIN))
    bins = [[ordered[i] for i in part] for part in np.array_split(np.arange(len(ordered)), count)]
    return tuple(
        Bin(
            cases=len(part),
            lowest=part[0][0],
            highest=part[-1][0],
            score=fmean(score for score, _ in part),
            dice=fmean(dice for _, dice in part),
        )
        for part in bins
    )


def _case(case: JudgedCase) -> dict[str, Any]:
    return {
        "kind": case.kind,
        "case": case.case,
        "kept": case.kept,
        "dice": round(case.dice, 4),
        "scores": _rounded(case.scores),
        "organs": {
            name: {"dice": round(organ.dice, 4), "scores": _rounded(organ.scores)}
            for name, organ in case.organs.items()
        },
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    ends = None if interval.low is None else [round(interval.low, 4), round(interval.high or 0.0, 4)]
    return {"value": round(interval.value, 4), "interval_95": ends}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
