"""Dice and NSD of every organ over cases, as a box plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flarekit.evaluation.dice import CaseScores, scored_organs
from flarekit.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_boxes(path: Path, scores: Sequence[CaseScores], *, overwrite: bool = False) -> None:
    """Write the PNG: a box an organ (median, quartiles, whiskers of 1.5 ranges) a dot a case. Raises OutputError."""
    from matplotlib.figure import Figure

    organs = scored_organs(scores)
    dice = {organ: [case.dice[organ] for case in scores if organ in case.dice] for organ in organs}
    nsd = {organ: [case.nsd[organ] for case in scores if organ in case.nsd] for organ in organs}
    panels = [("Dice", dice)] + ([("NSD", nsd)] if any(nsd.values()) else [])
    figure = Figure(figsize=(max(5.0, 0.75 * len(organs)), 3.2 * len(panels)), layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0], panels, strict=True
    ):
        _boxes(axes, list(values.values()))
        axes.set_ylabel(name)
    axes.set_xticks(range(1, len(organs) + 1), [organ.replace("_", " ") for organ in organs], rotation=40, ha="right")
    figure.suptitle(f"{len(scores)} case{'s' if len(scores) > 1 else ''}", fontsize=10)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=120)


def _boxes(axes: Axes, values: Sequence[Sequence[float]]) -> None:
    axes.boxplot(values, showfliers=False, widths=0.5, medianprops={"color": "C0", "linewidth": 2})
    for place, dots in enumerate(values, start=1):
        shifts = [0.12 * ((i % 3) - 1) for i in range(len(dots))]  # so that equal scores do not hide each other
        axes.plot([place + shift for shift in shifts], dots, "o", color="0.4", markersize=3, alpha=0.6)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="y", alpha=0.3)
