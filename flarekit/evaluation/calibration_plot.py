"""A score against the true Dice of each case, and the means of cases of about the same score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flarekit.evaluation.consensus import JudgedCase
from flarekit.evaluation.consensus_report import ConsensusReport
from flarekit.files import atomic_path


def draw_calibration(
    path: Path, report: ConsensusReport, cases: Sequence[JudgedCase], *, overwrite: bool = False
) -> None:
    """Write the PNG: a point a case, coloured by kind, the bins' means, and where score and Dice are equal.

    Raises OutputError.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), ":", color="0.5", label="score = Dice")
    for number, kind in enumerate(report.kinds):
        points = [(case.scores[report.mode], case.dice) for case in cases if case.kind == kind]
        axes.plot(*zip(*points, strict=True), "o", color=f"C{number}", markersize=5, alpha=0.7, label=kind)
    axes.plot([b.score for b in report.bins], [b.dice for b in report.bins], "ks-", markersize=6, label="means of bins")
    rank = report.overall.spearman
    axes.set_title(f"{len(cases)} cases" + ("" if rank is None else f", Spearman {rank}"), fontsize=10)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.set_xlabel(f"score: {report.mode}")
    axes.set_ylabel("true Dice, mean over organs")
    axes.legend(loc="upper left", fontsize=8)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=120)
