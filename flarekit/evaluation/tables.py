"""Scores as plain dictionaries and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from flarekit.evaluation.dice import CaseScores, organ_means, scored_organs


def scores_to_json(scores: Sequence[CaseScores]) -> dict[str, Any]:
    """Dice of every case and organ, the means over cases, and the mean of all, as a plain dictionary."""
    return {
        "cases": [{"case": s.case, "dice": _rounded(s.dice), "mean": round(s.mean, 4)} for s in scores],
        "organs": _rounded(organ_means(scores)),
        "mean": round(fmean(s.mean for s in scores), 4),
    }


def scores_to_csv(scores: Sequence[CaseScores]) -> str:
    """One line a case: its name, Dice of every organ (empty where it is not labelled), and the mean over organs.

    Raises ValueError without a case.
    """
    if not scores:
        raise ValueError("a table needs at least one case")
    organs = scored_organs(scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", *organs, "mean"))
    for s in scores:
        values = (f"{s.dice[organ]:.4f}" if organ in s.dice else "" for organ in organs)
        writer.writerow((s.case, *values, f"{s.mean:.4f}"))
    return text.getvalue()


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
