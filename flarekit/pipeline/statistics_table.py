"""A case's organs as rows of a CSV table, from its JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def statistics_table(organs: Sequence[Mapping[str, Any]]) -> str:
    """CSV: a row for each of a JSON's organs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("organ", "id", "volume_ml", "confidence", *measured_columns()))
    for organ in organs:
        writer.writerow(organ_row(organ))
    return text.getvalue()


def measured_columns() -> tuple[str, ...]:
    """The columns of a table that hold measurements."""
    return ("mean_hu", "sd_hu", "median_hu", "extent_z_mm", "extent_h_mm", "extent_w_mm", "pieces", "cut_at")


def organ_row(organ: Mapping[str, Any]) -> list[Any]:
    """The cells of one of a JSON's organs; empty where there is nothing."""
    row = [organ["name"], organ["id"], organ["volume_ml"], organ["confidence"]]
    if (measured := organ.get("statistics")) is not None:
        extent, cut_at = measured["extent_mm"] or (None,) * 3, measured["cut_at"]
        row += [measured["mean_hu"], measured["sd_hu"], measured["median_hu"], *extent, measured["pieces"]]
        row.append(None if cut_at is None else _listed(cut_at))
    return row


def _listed(sides: Iterable[str]) -> str:
    return " ".join(side.replace(" ", "-") for side in sides) or "nowhere"
