"""What is known of each organ of a case, from its sidecar and from the mask itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flarekit.labels import LabelSet


def organ_facts(
    sidecar: Mapping[str, Any], labels: LabelSet, areas_px: np.ndarray, voxel_ml: float, certainty: np.ndarray | None
) -> list[dict[str, Any]]:
    """The sidecar's organs in class order, or all where it names none, with their classes and the mask's volumes.

    An organ of which the sidecar says no confidence has its certainty for one: `areas_px` and `certainty` by slice are
    (organs, Z), the latter NaN where it is not known.
    """
    known = {organ["name"]: organ for organ in sidecar.get("organs", ())}
    organs = []
    for row, (name, number) in enumerate(zip(labels.names, labels.ids, strict=True)):
        if known and name not in known:
            continue
        volume_ml = round(float(areas_px[row].sum() * voxel_ml), 3)  # as the sidecar has it
        organ = {"name": name, "id": number} | known.get(name, {}) | {"class": row + 1, "volume_ml": volume_ml}
        if organ.get("confidence") is None and certainty is not None:
            organ["confidence"] = _mean(certainty[row], areas_px[row])
        organs.append(organ)
    return organs


def _mean(certainty: np.ndarray, area_px: np.ndarray) -> float | None:
    """Over the voxels of the slices where it is known, None without any."""
    voxels = np.where(np.isnan(certainty), 0, area_px)
    return float((np.nan_to_num(certainty) * voxels).sum() / voxels.sum()) if voxels.any() else None
