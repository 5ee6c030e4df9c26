"""The table of an ablation, as Markdown and as a plain dictionary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flarekit.checkpoints import Card
from flarekit.config import toml
from flarekit.config.ablation import AblationRow
from flarekit.evaluation.bootstrap import Estimate, mean_over_cases
from flarekit.evaluation.dice import CaseScores
from flarekit.evaluation.rules import ScoringRules
from flarekit.evaluation.summary import Summary
from flarekit.evaluation.tables import describe, scores_to_json, summary_rows


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """A row that is done."""

    row: AblationRow
    reference: Card  # of the pair that segmented
    propagation: Card | None  # of the network that propagated
    scores: tuple[CaseScores, ...]  # of the same cases in every row
    seconds: float  # that a case took on average

    @property
    def parts(self) -> dict[str, Any]:
        """What of the paper's method is in it, as the checkpoints' cards say."""
        trained = self.reference.training
        learning, stores = _section(trained, "training"), _section(trained, "stores")
        return {
            "cps": learning.get("unlabelled_batch", 0) > 0,
            "windows": self.reference.preprocessing.windows.name,
            "pseudo_labels": bool(stores.get("pseudo_labels")),
            "propagation": self.propagation is not None,
        }

    @cached_property
    def summaries(self) -> dict[str, tuple[Summary, Summary | None]]:
        """Dice and NSD over cases of every organ, and of "mean" over organs."""
        return {name: (dice, nsd) for name, dice, nsd in summary_rows(self.scores)}


def _section(trained: dict[str, Any], name: str) -> dict[str, Any]:
    """A section of what a card says of the training; empty where it is missing or says something else."""
    found = trained.get(name)
    return found if isinstance(found, dict) else {}


def gain(done: RowScores, over: RowScores) -> Estimate:
    """How much higher a row's mean Dice is than another's, with the paired bootstrap over cases."""
    pairs = zip(done.scores, over.scores, strict=True)
    return mean_over_cases(np.array([mine.mean - other.mean for mine, other in pairs]))


def to_json(rows: Sequence[RowScores], rules: ScoringRules) -> dict[str, Any]:
    """Every row with its settings and scores, as a plain dictionary."""
    return {"tolerance_mm": dict(rules.tolerance_mm), "rows": [_entry(done, rows[0]) for done in rows]}


def to_markdown(rows: Sequence[RowScores], rules: ScoringRules) -> str:
    """The rows with what is in each and their means, then Dice and NSD of every organ."""
    head = (
        "row",
        "CPS",
        "windows",
        "pseudo-labels",
        "propagation",
        "Dice",
        "NSD",
        "Dice over the first row",
        "s a case",
    )
    lines = [*_table(head, (cells(done, rows[0]) for done in rows)), ""]
    for place, title in enumerate(("Dice", "NSD")):
        lines += [*_table((title, *(done.row.name for done in rows)), _organ_rows(rows, place)), ""]
    cases = len(rows[0].scores)
    return "\n".join([*lines, f"{cases} case{'s' if cases > 1 else ''}. {describe(rules)}"]) + "\n"


def cells(done: RowScores, first: RowScores) -> tuple[str, ...]:
    """A row of the first table."""
    dice, nsd = done.summaries["mean"]
    more = gain(done, first)
    parts = (("yes" if part else "") if isinstance(part, bool) else part for part in done.parts.values())
    over = "" if done is first else f"{more.mean:+.3f} ({more.low:+.3f} to {more.high:+.3f})"
    return done.row.name, *parts, str(dice), "-" if nsd is None else str(nsd), over, f"{done.seconds:.3g}"


def _organ_rows(rows: Sequence[RowScores], place: int) -> Iterator[tuple[str, ...]]:
    """Every organ's Dice (place 0) or NSD (1), a column a row of the ablation."""
    columns = [done.summaries for done in rows]
    for organ in columns[0]:
        found = (column[organ][place] for column in columns)
        yield organ.replace("_", " "), *("-" if summary is None else str(summary) for summary in found)


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def _entry(done: RowScores, first: RowScores) -> dict[str, Any]:
    more = gain(done, first)
    cards = [done.reference] + ([done.propagation] if done.propagation is not None else [])
    return {
        "name": done.row.name,
        **done.parts,
        "segment": toml.to_dict(done.row.segment) if done.propagation is not None else None,
        "checkpoints": [card.reference for card in cards],
        "seconds_a_case": round(done.seconds, 3),
        **scores_to_json(done.scores),
        "dice_over_the_first_row": {
            "mean": round(more.mean, 4),
            "interval_95": [round(more.low, 4), round(more.high, 4)],
        },
    }
