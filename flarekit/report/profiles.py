"""Plots of one organ along the slices: its area, how sure the networks were of it, and how uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from flarekit.labels import LabelSet
from flarekit.report.markup import readable
from flarekit.report.overlay import colour

HEIGHT = 100  # of a plot's own units; a slice is one unit wide


def profile_section(
    labels: LabelSet,
    areas_px: np.ndarray,
    certainty: np.ndarray | None,
    uncertainty: np.ndarray | None,
    references: Sequence[int],
) -> str:
    """A section with a plot of every organ in the mask; areas, certainty and uncertainty are (organs, Z)."""
    figures = "\n".join(
        profile(
            row + 1,
            labels.names[row],
            area,
            None if certainty is None else np.where(area > 0, certainty[row], np.nan),
            None if uncertainty is None else np.where(area > 0, uncertainty[row], np.nan),
            references,
        )
        for row, area in enumerate(areas_px)
        if area.any()
    )
    lines = {"certainty": certainty, "uncertainty": uncertainty}
    legend = _legend([kind for kind, values in lines.items() if values is not None], are_marked=len(references) > 0)
    return f'<section>\n<h2>By slice</h2>\n{legend}\n<div class="profiles">\n{figures}\n</div>\n</section>'


def profile(
    organ_class: int,
    name: str,
    area: np.ndarray,
    certainty: np.ndarray | None,
    uncertainty: np.ndarray | None,
    references: Sequence[int],
) -> str:
    """A figure of an organ: `area` (Z,) in any unit, certainty and uncertainty (Z,) in 0..1, NaN where unknown.

    Feet on the left, head on the right; the area is drawn as a share of its largest.
    """
    lines = [(kind, values) for kind, values in (("certainty", certainty), ("uncertainty", uncertainty))]
    paths = "".join(f'<path class="{kind}" d="{steps(values)}"/>' for kind, values in lines if values is not None)
    marks = "".join(f"M{z + 0.5} {HEIGHT}v-12" for z in references)
    title = escape(readable(name))
    return (
        f'<figure class="profile" data-class="{organ_class}">\n'
        f'<figcaption><span class="swatch" style="background:{colour(organ_class)}"></span> {title}'
        f"<small>{_summary(certainty, uncertainty)}</small></figcaption>\n"
        f'<svg viewBox="0 0 {len(area)} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{title} by slice">'
        f'<line class="grid" x1="0" x2="{len(area)}" y1="{HEIGHT / 2}" y2="{HEIGHT / 2}"/>'
        f'<path class="area" fill="{colour(organ_class)}" d="{_silhouette(area)}"/>{paths}'
        f'<path class="reference" d="{marks}"/><line class="cursor" x1="0" x2="0" y1="0" y2="{HEIGHT}"/></svg>\n'
        "</figure>"
    )


def steps(values: np.ndarray) -> str:
    """An SVG path with one level step a slice of values (Z,) in 0..1, broken where they are NaN."""
    commands, connected = [], False
    for z, value in enumerate(values):
        if np.isnan(value):
            connected = False
            continue
        y = round(HEIGHT * (1 - float(value)), 1)
        commands.append(f"V{y:g}H{z + 1}" if connected else f"M{z} {y:g}H{z + 1}")
        connected = True
    return "".join(commands)


def _legend(lines: Sequence[str], *, are_marked: bool) -> str:
    keys = "".join(f'<span class="key {kind}"></span> {kind}, ' for kind in lines)
    scale = "from 0 to 1; " if lines else ""
    marks = '<span class="key reference"></span> reference slices; ' if are_marked else ""
    return (
        f'<p class="muted">From feet to head: {keys}{scale}{marks}'
        "coloured, the area as a share of its largest. Click to go to a slice.</p>"
    )


def _silhouette(area: np.ndarray) -> str:
    """A closed path under the area's steps."""
    shares = area / area.max() if area.max() > 0 else np.zeros(len(area))
    tops = (round(HEIGHT * (1 - 0.96 * float(share)), 1) for share in shares)
    outline = "".join(f"V{top:g}H{z + 1}" for z, top in enumerate(tops))
    return f"M0 {HEIGHT}{outline}V{HEIGHT}Z"


def _summary(certainty: np.ndarray | None, uncertainty: np.ndarray | None) -> str:
    """The least sure slice of each line."""
    words = []
    if certainty is not None and not np.isnan(certainty).all():
        words.append(f"certainty from {np.nanmin(certainty):.2f}")
    if uncertainty is not None and not np.isnan(uncertainty).all():
        words.append(f"uncertainty to {np.nanmax(uncertainty):.2f}")
    return ", ".join(words)
