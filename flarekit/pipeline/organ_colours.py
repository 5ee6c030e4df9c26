"""The organs to write with their colours, which are those of every picture of them."""

from __future__ import annotations

from flarekit.renumbering import WrittenLabels
from flarekit.report.overlay import colour
from flarekit.volumes.naming import NamedLabel


def named(labels: WrittenLabels) -> tuple[NamedLabel, ...]:
    """One for each organ, by the id it is written by."""
    return tuple(
        NamedLabel(id=number, name=labels.model.names[c - 1], colour=_red_green_blue(colour(c)))
        for c, number in labels.ids.items()
    )


def _red_green_blue(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue
