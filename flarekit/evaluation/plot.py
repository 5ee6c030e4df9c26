"""Dice against the number of annotated slices, propagation beside its rivals, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flarekit.files import atomic_path

STYLES = {"propagation": ("C0", "o-"), "interpolation": ("C1", "s--"), "copy": ("C2", "^:")}


def draw_comparison(
    path: Path, title: str, methods: Sequence[str], results: Sequence[Mapping[str, Any]], *, overwrite: bool = False
) -> None:
    """Write the PNG of results as `flarekit.evaluation.comparison` gives them. Raises OutputError."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(results, key=lambda entry: entry["annotated"])
    given = [entry["annotated"] for entry in ordered]
    for method in methods:
        colour, style = STYLES.get(method, (None, "x-"))
        axes.plot(given, [entry[method]["mean"] for entry in ordered], style, color=colour, label=method)
    axes.set_xscale("log")
    axes.set_xticks(
        given, labels=[f"{n:.4g}\n(every {entry['every']})" for n, entry in zip(given, ordered, strict=True)]
    )
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.set_xlabel("annotated slices")
    axes.set_ylabel("Dice on the slices in between, mean over organs")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right")
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=120)
