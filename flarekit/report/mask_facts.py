"""What a report says of a finished mask: measured anew, and held against the JSON that lies beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flarekit.check.findings import NOTE, WARNING
from flarekit.labels import LabelSet
from flarekit.report.statistics import OrganStatistics

ASSUMED = {
    "severity": WARNING,
    "code": "assumed-names",
    "text": "neither a JSON beside the mask nor its header names its organs: FLARE22's numbers are assumed "
    "(--dataset names others).",
}
_EXACT_ML = 0.01  # by which volumes may differ that are the same, rounded


def measured_organs(
    sidecar: Mapping[str, Any], labels: LabelSet, measured: Mapping[int, OrganStatistics]
) -> list[dict[str, Any]]:
    """All organs of `labels` as a sidecar has them, with what it knows of each and with statistics by class."""
    known = {organ["name"]: organ for organ in sidecar.get("organs", ())}
    return [
        known.get(name, {}) | {"name": name, "id": number, "statistics": measured[row].to_json()}
        for row, (name, number) in enumerate(zip(labels.names, labels.ids, strict=True), start=1)
    ]


def doubts_about(sidecar: Mapping[str, Any], image: str, volumes_ml: Mapping[str, float]) -> list[dict[str, Any]]:
    """Flags where the JSON is of another CT than `image` (a file's name), or of other organs' volumes than these."""
    doubts = []
    if sidecar.get("image") not in (None, image):
        text = f"the JSON beside the mask was written for {sidecar['image']}."
        doubts.append({"severity": NOTE, "code": "renamed", "text": text})
    if changed := _changed(sidecar.get("organs", ()), volumes_ml):
        text = f"edited after the JSON was written, whose confidence is of the mask before: {', '.join(changed)}."
        doubts.append({"severity": WARNING, "code": "changed", "text": text})
    return doubts


def volumes_ml(classes: np.ndarray, labels: LabelSet, voxel_ml: float) -> dict[str, float]:
    """The volume of every organ of a mask (Z, H, W)."""
    voxels = np.bincount(classes.ravel(), minlength=256)
    return {name: float(voxels[c] * voxel_ml) for c, name in enumerate(labels.names, start=1)}


def _changed(organs: Sequence[Mapping[str, Any]], volumes: Mapping[str, float]) -> list[str]:
    told = {organ["name"]: organ["volume_ml"] for organ in organs if organ.get("volume_ml") is not None}
    return [
        name.replace("_", " ")
        for name, volume_ml in volumes.items()
        if name in told and abs(told[name] - volume_ml) > _EXACT_ML + 1e-4 * volume_ml
    ]
