"""Scores of label maps as plain dictionaries, as CSV, and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from flarekit.evaluation.dice import CaseScores, organ_means, scored_organs
from flarekit.evaluation.rules import ScoringRules
from flarekit.evaluation.summary import Summary


def scores_to_json(scores: Sequence[CaseScores]) -> dict[str, Any]:
    """Dice and NSD of every case and organ, and what they are over cases, as a plain dictionary.

    `organs` and `mean` are the means of Dice alone; `dice` and `nsd` add spread and interval.
    """
    return {
        "cases": [_case(case) for case in scores],
        "organs": _rounded(organ_means(scores)),
        "mean": round(fmean(case.mean for case in scores), 4),
        **_summaries(scores),
    }


def scores_to_csv(scores: Sequence[CaseScores]) -> str:
    """One line a case: its name, Dice of every organ (empty where it is not labelled) and their mean, then NSD's.

    Raises ValueError without a case.
    """
    if not scores:
        raise ValueError("a table needs at least one case")
    organs = scored_organs(scores)
    by_surface = [organ for organ in organs if any(organ in case.nsd for case in scores)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    nsd_columns = [f"{name}_nsd" for name in (*by_surface, "mean")] if by_surface else []
    writer.writerow(("case", *organs, "mean", *nsd_columns))
    for case in scores:
        cells = [*(case.dice.get(organ) for organ in organs), case.mean]
        if by_surface:
            cells += [*(case.nsd.get(organ) for organ in by_surface), case.mean_nsd]
        writer.writerow((case.case, *("" if cell is None else f"{cell:.4f}" for cell in cells)))
    return text.getvalue()


def scores_to_markdown(scores: Sequence[CaseScores], rules: ScoringRules) -> str:
    """A table with a row an organ: mean and spread over cases, and the interval of the mean, of Dice and of NSD."""
    lines = [
        "| organ | cases | Dice | 95 % interval | NSD | 95 % interval | tolerance, mm |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for organ, dice, nsd in summary_rows(scores):
        tolerance = f"{rules.tolerance_mm[organ]:g}" if organ in rules.tolerance_mm else "-"
        nsd_cells = ("-", "-") if nsd is None else (str(nsd), nsd.interval_text)
        cells = (organ, str(dice.cases), str(dice), dice.interval_text, *nsd_cells, tolerance)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{describe(rules)}\n"


def summary_rows(scores: Sequence[CaseScores]) -> Iterator[tuple[str, Summary, Summary | None]]:
    """Every organ, then "mean" over organs, with its Dice and its NSD over cases."""
    for organ in scored_organs(scores):
        nsd = [case.nsd[organ] for case in scores if organ in case.nsd]
        dice = Summary.of([case.dice[organ] for case in scores if organ in case.dice])
        yield organ, dice, Summary.of(nsd) if nsd else None
    means = [case.mean_nsd for case in scores if case.mean_nsd is not None]
    yield "mean", Summary.of([case.mean for case in scores]), Summary.of(means) if means else None


def describe(rules: ScoringRules) -> str:
    """What the numbers of a table are, in a sentence or two."""
    spread = "Mean ± standard deviation over cases; intervals of the mean by bootstrap over cases."
    if rules.official:
        return f"{spread} Scored as FLARE22's official script does."
    return f"{spread} Aorta, inferior vena cava and esophagus from their first to their last labelled slice."


def _case(scores: CaseScores) -> dict[str, Any]:
    entry = {"case": scores.case, "dice": _rounded(scores.dice), "mean": round(scores.mean, 4)}
    if scores.mean_nsd is None:
        return entry
    return entry | {"nsd": _rounded(scores.nsd), "mean_nsd": round(scores.mean_nsd, 4)}


def _summaries(scores: Sequence[CaseScores]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {"dice": {}, "nsd": {}}
    for name, dice, nsd in summary_rows(scores):
        found["dice"][name] = dice.to_json()
        if nsd is not None:
            found["nsd"][name] = nsd.to_json()
    return {score: {"mean": by_organ.pop("mean", None), "organs": by_organ} for score, by_organ in found.items()}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
