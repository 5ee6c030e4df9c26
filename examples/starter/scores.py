"""Tables of what `flarekit evaluate` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(title: str, scores: Mapping[str, Any]) -> str:
    """What `evaluate masks` or `evaluate propagation` found, as a table of means over cases."""
    table = _propagation(scores["results"]) if "results" in scores else _masks(scores["cases"])
    return "\n".join([f"## {title}", "", *table])


def row(*cells: object) -> str:
    """A line of a table; fractions with three digits."""
    return "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def _propagation(results: Sequence[Mapping[str, Any]]) -> list[str]:
    methods = [key for key, value in results[0].items() if isinstance(value, dict)]
    head = [row("every", *methods), row(*["---"] * (1 + len(methods)))]
    return head + [row(found["every"], *(found[method]["mean"] for method in methods)) for found in results]


def _masks(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    organs = list(dict.fromkeys(organ for case in cases for organ in case["dice"]))
    means = [(organ, _mean(cases, "dice", organ), _mean(cases, "nsd", organ)) for organ in organs]
    overall = [sum(mean[number] for mean in means) / len(means) for number in (1, 2)]
    return [
        row("organ", "Dice", "NSD"),
        row("---", "---", "---"),
        *(row(*mean) for mean in means),
        row("mean", *overall),
    ]


def _mean(cases: Sequence[Mapping[str, Any]], kind: str, organ: str) -> float:
    values = [case[kind][organ] for case in cases if organ in case[kind]]
    return sum(values) / len(values) if values else float("nan")
