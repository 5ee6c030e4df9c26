"""How masks of disguises compare with the CT's own, as a plain dictionary, as rows, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from flarekit.evaluation.invariance import DisguisedScores

COLUMNS = ("disguise", "mean Dice", "lowest organ", "its Dice", "ceiling")
Row = tuple[str, float | None, str | None, float | None, float | None]


def invariance_json(
    scores: Sequence[DisguisedScores],
    *,
    case: str,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    models: dict[str, str],
) -> dict[str, Any]:
    """Every disguise, and each organ's mean and minimum over the disguises of a kind."""
    return {
        "case": case,
        "shape": list(shape),
        "spacing_mm": [round(mm, 4) for mm in spacing_mm],
        "models": models,
        "disguises": [each.to_json() for each in scores],
        "organs": {kind: _organs(list(group)) for kind, group in groupby(scores, key=lambda each: each.kind)},
    }


def invariance_rows(scores: Sequence[DisguisedScores]) -> Iterator[Row]:
    """A row a disguise; orientations together, at the least that any of them has."""
    for kind, group in groupby(scores, key=lambda each: each.kind):
        members = list(group)
        if kind == "orientation" and not any(each.error for each in members):
            yield _least(f"{len(members)} orientations", members)
        else:
            yield from (_row(each) for each in members)


def invariance_markdown(scores: Sequence[DisguisedScores]) -> str:
    """The rows, then for every organ the least that it has among the disguises of each kind."""
    lines = [_line(COLUMNS), _line(("---", "---:", "---", "---:", "---:"))]
    lines += [_line(tuple(_cell(value) for value in row)) for row in invariance_rows(scores)]
    kinds = {kind: _organs(list(group)) for kind, group in groupby(scores, key=lambda each: each.kind)}
    organs = dict.fromkeys(organ for by_organ in kinds.values() for organ in by_organ)
    lines += ["", _line(("organ, lowest Dice", *kinds)), _line(("---", *("---:" for _ in kinds)))]
    for organ in organs:
        lowest = (by_organ.get(organ, {}).get("lowest") for by_organ in kinds.values())
        lines.append(_line((organ, *(_cell(value) for value in lowest))))
    return "\n".join(lines) + "\n"


def _organs(scores: Sequence[DisguisedScores]) -> dict[str, dict[str, float]]:
    found: dict[str, list[float]] = {}
    for each in scores:
        for organ, value in each.dice.items():
            found.setdefault(organ, []).append(value)
    return {
        organ: {"mean": round(fmean(values), 4), "lowest": round(min(values), 4)} for organ, values in found.items()
    }


def _row(each: DisguisedScores) -> Row:
    if each.error:
        return f"{each.name}: {each.error}", None, None, None, None
    lowest = each.lowest
    return each.name, each.mean, lowest, None if lowest is None else each.dice[lowest], each.ceiling


def _least(name: str, scores: Sequence[DisguisedScores]) -> Row:
    with_organs = [each for each in scores if each.dice]
    if not with_organs:
        return name, None, None, None, None
    mean = min(fmean(each.dice.values()) for each in with_organs)
    value, organ = min((value, organ) for each in with_organs for organ, value in each.dice.items())
    return name, mean, organ, value, None


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else value


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
