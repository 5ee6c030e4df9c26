"""A figure of a suggestion: the gain of every slice, and the suggested slices with the masks they have now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flarekit.files import atomic_path
from flarekit.report.overlay import BACKGROUND, MUTED, TEXT, blend, colour, require_png
from flarekit.report.slice_numbers import number_in_file
from flarekit.suggestion.case_files import Suggested
from flarekit.suggestion.ranking import Suggestion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_SLICES = 4  # the first so many suggestions are drawn
LINE, MARK = "#5ce1e6", "#ffd23f"


def draw_suggestion(path: Path, suggested: Suggested, *, overwrite: bool = False) -> None:
    """Write the PNG. Raises OutputError when it cannot be written."""
    from matplotlib.figure import Figure

    require_png(path)
    top = suggested.ranking.suggestions[:SHOWN_SLICES]
    figure = Figure(figsize=(12, 3.2 + 12 / max(3, len(top))), layout="constrained", facecolor=BACKGROUND)
    grid = figure.add_gridspec(2, max(1, len(top)), height_ratios=(1, 1.5))
    _curve(figure.add_subplot(grid[0, :]), suggested)
    for column, suggestion in enumerate(top):
        _slice(figure.add_subplot(grid[1, column]), suggested, suggestion, column + 1)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=110)


def _curve(axes: Axes, suggested: Suggested) -> None:
    image, curve = suggested.image, suggested.ranking.curve
    candidates = np.flatnonzero(curve > 0)
    order = sorted((number_in_file(image, int(z)), curve[z]) for z in candidates)
    axes.plot(*zip(*order, strict=True), color=LINE) if order else None
    for z in suggested.annotated:
        axes.axvline(number_in_file(image, z), color=MUTED, linewidth=1)
    for place, suggestion in enumerate(suggested.ranking.suggestions, start=1):
        spot = number_in_file(image, suggestion.z), curve[suggestion.z]
        axes.plot(*spot, "o", color=MARK)
        axes.annotate(str(place), spot, xytext=(5, 4), textcoords="offset points", color=MARK)
    axes.set_title("gain of mean Dice that is hoped for; grey: annotated slices", color=TEXT, fontsize=10)
    axes.set_xlabel("slice", color=MUTED)
    axes.set_xlim(-1, len(curve))
    axes.set_ylim(0, 1.15 * max(curve.max(), 1e-9))  # room for the numbers
    axes.set_facecolor(BACKGROUND)
    axes.tick_params(colors=MUTED)
    for spine in axes.spines.values():
        spine.set_color(MUTED)


def _slice(axes: Axes, suggested: Suggested, suggestion: Suggestion, place: int) -> None:
    image, z = suggested.image, suggestion.z
    hu = image.array[z]
    classes = suggested.masks.get(z, np.zeros(hu.shape, dtype=np.uint8))
    _, row_mm, column_mm = image.spacing_mm
    axes.imshow(blend(hu, classes), aspect=row_mm / column_mm, interpolation="nearest")
    axes.set_title(f"{place}. slice {number_in_file(image, z)} ({image.z_mm(z):.0f} mm)", color=TEXT, fontsize=10)
    axes.set_axis_off()
    for line, reason in enumerate(suggestion.reasons):
        name = suggested.names[reason.organ].replace("_", " ")
        place_y = 0.02 + 0.07 * (len(suggestion.reasons) - 1 - line)
        axes.text(0.02, place_y, name, color=colour(reason.organ + 1), transform=axes.transAxes, fontsize=9)
