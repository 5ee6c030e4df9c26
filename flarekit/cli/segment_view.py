"""What `flarekit segment` shows of a case, and of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from flarekit.cli import console

if TYPE_CHECKING:
    from flarekit.pipeline.outcome import CaseOutcome
    from flarekit.pipeline.outputs import OutputFiles


def case_doubts(flags: Sequence[Mapping[str, Any]]) -> list[str]:
    """What speaks against the whole mask, in the flags of a case's JSON."""
    return [flag["text"] for flag in flags if "organ" not in flag and flag["severity"] != "note"]


def organ_table(organs: Sequence[Mapping[str, Any]]) -> Table:
    """Volume and confidence of every organ of a case's JSON, and its statistics where there are any."""
    columns = ["organ", "mL", "confidence"]
    if any("statistics" in organ for organ in organs):
        columns += ["mean HU", "sd", "median", "extent, mm", "pieces", "cut at"]
    rows = [
        (organ["name"], f"{organ['volume_ml']:.1f}", organ["confidence"], *_measured(organ.get("statistics")))
        for organ in organs
    ]
    return console.table("Organs", columns, rows)


def written(outputs: OutputFiles) -> str:
    """The mask, and the files that lie beside it, or in its folder."""
    others = [name for name in (*outputs.names, outputs.sidecar.name) if name != outputs.mask.name]
    return f"Wrote {outputs.mask}. {'In' if outputs.config.split else 'Beside'} it: {', '.join(others)}."


def case_table(folder: Path, outcomes: Sequence[CaseOutcome]) -> Table:
    """What became of every case of a batch."""
    rows = []
    for outcome in outcomes:
        report = outcome.report or {"organs": [], "flags": []}
        found = sum(organ["confidence"] is not None for organ in report["organs"])
        flags = sum(flag["severity"] != "note" for flag in report["flags"])
        numbers = (found, flags) if outcome.report else (None, None)
        rows.append((outcome.name, outcome.status, *numbers, f"{outcome.elapsed_s:.1f}", outcome.error))
    return console.table(f"Masks in {folder}", ("case", "status", "organs", "doubts", "s", "error"), rows)


def _measured(statistics: Mapping[str, Any] | None) -> Iterator[object]:
    if statistics is None:
        return
    for key in ("mean_hu", "sd_hu", "median_hu"):
        yield None if statistics[key] is None else f"{statistics[key]:.0f}"
    extent, cut_at = statistics["extent_mm"], statistics["cut_at"]
    yield None if extent is None else " x ".join(f"{mm:.0f}" for mm in extent)
    yield statistics["pieces"]
    yield None if cut_at is None else ", ".join(cut_at) or "nowhere"
