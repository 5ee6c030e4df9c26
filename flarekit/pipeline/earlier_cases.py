"""The cases in a batch's folder that earlier runs finished, of other CTs than the last one's."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flarekit.pipeline.outcome import EARLIER, CaseOutcome
from flarekit.report.sidecar_shape import SHAPES, misfit

_FORMAT = "flarekit-segmentation"
_SHAPE = SHAPES[_FORMAT] | {"format": str, "outputs": [str], "organs": SHAPES[_FORMAT]["organs"][0]}


def earlier_cases(folder: Path, names: Collection[str]) -> list[CaseOutcome]:
    """Those that are called otherwise than `names`, in order of name: their JSON is there, and every file it lists."""
    sidecars = {path.stem: path for path in folder.glob("*.json")}
    sidecars |= {path.parent.name: path for path in folder.glob("*/segmentation.json")}
    others = sorted(name for name in sidecars if name not in names and not name.startswith("."))
    reports = {name: _finished(sidecars[name]) for name in others}
    return [CaseOutcome(name=name, status=EARLIER, report=report) for name, report in reports.items() if report]


def _finished(sidecar: Path) -> dict[str, Any] | None:
    """A case's JSON; None where it is none, was damaged by hand, or something that it lists is gone."""
    try:
        report = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(report, dict) or report.get("format") != _FORMAT or misfit(report, _SHAPE):
        return None
    listed = report["outputs"]
    return report if listed and all((sidecar.parent / name).exists() for name in listed) else None
