"""The JSON beside a propagated label map: what was drawn, what was filled, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flarekit import __version__
from flarekit.checkpoints import Card
from flarekit.config import toml
from flarekit.config.propagation import PropagationConfig
from flarekit.labels import LabelSet
from flarekit.propagation.label_map import Drawing, Propagated
from flarekit.report.slice_numbers import number_in_file
from flarekit.volumes import Volume

FORMAT = {"format": "flarekit-propagation", "version": 1}


def report(
    image: Volume,
    drawing: Drawing,
    result: Propagated,
    card: Card,
    config: PropagationConfig,
    labels: LabelSet,
) -> dict[str, Any]:
    """A plain dictionary for the file; `labels` names the organs where it can. No path and no patient tag is in it.

    Slice numbers are 0-based along the file's axial axis, lists of them ascending; positions in mm grow upwards.
    Every organ's confidence is a list with one entry for each of the filled slices.
    """
    names = dict(zip(labels.ids, labels.names, strict=True))
    annotated, filled = _in_file_order(image, drawing.slices), _in_file_order(image, result.filled)
    return {
        **FORMAT,
        "flarekit": __version__,
        "image": image.path.name if image.path else None,
        "hu_offset": image.hu_offset,
        "model": {"checkpoint": card.reference, "weights_sha256": card.weights_sha256},
        "annotated": [{"slice": number_in_file(image, z), "mm": round(image.z_mm(z), 2)} for z in annotated],
        "filled": [number_in_file(image, z) for z in filled],
        "organs": [
            _organ(number, names.get(number, f"label {number}"), result, filled, column)
            for column, number in enumerate(drawing.ids)
        ],
        "settings": toml.to_dict(config),
    }


def _in_file_order(image: Volume, slices: Sequence[int]) -> list[int]:
    return sorted(slices, key=lambda z: number_in_file(image, z))


def _organ(number: int, name: str, result: Propagated, filled: Sequence[int], column: int) -> dict[str, Any]:
    confidence = result.confidence[filled, column]
    return {
        "id": number,
        "name": name,
        "volume_ml": round(np.count_nonzero(result.labels.array == number) * result.labels.voxel_ml, 3),
        "confidence": [round(float(value), 4) for value in confidence],
    }
