"""The table of a case's organs: what was measured of each, and a way to it in the viewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from flarekit.report.markup import go_button, readable, table
from flarekit.report.overlay import colour

# Measurements: the sidecar's name, the column's, and how a value is told.
_MEASURED: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("mean_hu", "mean HU", "{:.0f}".format),
    ("sd_hu", "SD", "{:.0f}".format),
    ("median_hu", "median", "{:.0f}".format),
    ("extent_mm", "height x depth x width, mm", lambda mm: " x ".join(f"{side:.0f}" for side in mm)),
    ("pieces", "pieces", str),
    ("cut_at", "cut at", lambda sides: ", ".join(sides) or "nowhere"),
)


def organ_table(organs: Sequence[Mapping[str, Any]]) -> str:
    """One row for each of `organ_facts`, with measurements where there are any."""
    measured = any("statistics" in organ for organ in organs)
    columns = [column for _, column, _ in _MEASURED] if measured else []
    head = ("organ", "id", "volume, mL", "confidence", *columns)
    return table("Organs", head, [[*_row(organ), *(_measurements(organ) if measured else ())] for organ in organs])


def _row(organ: Mapping[str, Any]) -> list[str]:
    found, confidence = organ["volume_ml"] > 0, organ.get("confidence")
    return [
        _name(organ["class"], organ["name"], found=found),
        str(organ["id"]),
        f"{organ['volume_ml']:.1f}" if found else "not found",
        _unknown("not known" if found else "not found") if confidence is None else f"{confidence:.3f}",
    ]


def _name(organ_class: int, name: str, *, found: bool) -> str:
    title = escape(readable(name))
    swatch = f'<span class="swatch" style="background:{colour(organ_class)}"></span>'
    if not found:
        return f"{swatch} {title}"
    return f"{swatch} {go_button(organ_class, title)}"


def _measurements(organ: Mapping[str, Any]) -> list[str]:
    """A cell for each measurement; where there is none, its reason is a word on it."""
    values = organ.get("statistics", {})
    reasons = values.get("reasons", {})
    return [
        _unknown(reasons.get(key, "not measured")) if values.get(key) is None else escape(tell(values[key]))
        for key, _, tell in _MEASURED
    ]


def _unknown(reason: str) -> str:
    return f'<span title="{escape(reason)}">&ndash;<span class="unseen"> {escape(reason)}</span></span>'
