"""The table of a case's organs: what was measured of each, and a way to it in the viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from flarekit.report.markup import readable, table
from flarekit.report.overlay import colour


def organ_table(organs: Sequence[Mapping[str, Any]]) -> str:
    """One row for each of a sidecar's organs, in class order."""
    head = ("organ", "id", "volume, mL", "confidence")
    return table("Organs", head, [_row(c, organ) for c, organ in enumerate(organs, start=1)])


def _row(organ_class: int, organ: Mapping[str, Any]) -> list[str]:
    found = organ["volume_ml"] > 0
    return [
        _name(organ_class, organ["name"], found=found),
        str(organ["id"]),
        f"{organ['volume_ml']:.1f}" if found else "not found",
        number(organ.get("confidence"), 3),
    ]


def _name(organ_class: int, name: str, *, found: bool) -> str:
    title = escape(readable(name))
    swatch = f'<span class="swatch" style="background:{colour(organ_class)}"></span>'
    if not found:
        return f"{swatch} {title}"
    return f'{swatch} <button type="button" class="go" value="{organ_class}" title="Go to {title}">{title}</button>'


def number(value: float | None, digits: int) -> str:
    """A number in a table's cell, a dash for none."""
    return "&ndash;" if value is None else f"{value:.{digits}f}"
