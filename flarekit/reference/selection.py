"""Which segmented slices become references (paper, section 2.2: the masks that show organs largest)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from flarekit.config.reference import SelectionConfig
from flarekit.reference.evidence import OrganTable


def select_references(table: OrganTable, config: SelectionConfig) -> tuple[int, ...]:
    """Slice numbers, ascending: for every organ its `slices_per_organ` best, at most `max_references` in all.

    Every organ's best slice is taken before any organ's second best; where the bound cuts a round short, slices
    that are the choice of more organs go first, then lower ones. Organs that no slice shows choose nothing.
    """
    scores = STRATEGIES[config.strategy](table)
    ranked = [_ranking(scores[:, organ]) for organ in range(scores.shape[1])]
    chosen: list[int] = []
    for place in range(config.slices_per_organ):
        votes = Counter(rows[place] for rows in ranked if place < len(rows))
        for row in sorted(votes, key=lambda row: (-votes[row], row)):
            if row not in chosen and len(chosen) < config.max_references:
                chosen.append(row)
    return tuple(sorted(table.slices[row] for row in chosen))


def largest_area(table: OrganTable) -> np.ndarray:
    """Scores (S, n): the organ's area in mm2."""
    return table.area_mm2


def most_classes(table: OrganTable) -> np.ndarray:
    """Scores (S, n): how many organs the slice shows, where it shows this one; area breaks ties."""
    shown = table.area_mm2 > 0
    tie_break = table.area_mm2 / (table.area_mm2.max(initial=0.0) + 1.0)
    return np.where(shown, shown.sum(axis=1, keepdims=True) + tie_break, 0.0)


def most_certain(table: OrganTable) -> np.ndarray:
    """Scores (S, n): mean winning probability, on slices with at least half of the organ's largest area."""
    large = table.area_mm2 >= 0.5 * table.area_mm2.max(axis=0, initial=0.0)
    return np.where(large & (table.area_mm2 > 0), table.certainty, 0.0)


STRATEGIES: dict[str, Callable[[OrganTable], np.ndarray]] = {
    "largest-area": largest_area,
    "most-classes": most_classes,
    "most-certain": most_certain,
}


def _ranking(scores: np.ndarray) -> list[int]:
    """Rows with a positive score, best first; the lower of equals first."""
    order = np.argsort(-scores, kind="stable")
    return [int(row) for row in order if scores[row] > 0]
