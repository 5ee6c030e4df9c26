"""The JSON beside a propagated label map: what was drawn, what was filled, and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from flarekit import __version__
from flarekit.checkpoints import Card
from flarekit.config import toml
from flarekit.config.propagation import PropagationConfig
from flarekit.labels import LabelSet
from flarekit.propagation.label_map import Drawing, Propagated
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

    Slice numbers are 0-based along the volume's axial axis from feet to head, positions in mm along it. Every
    organ's confidence is a list with one entry for each of the filled slices.
    """
    names = dict(zip(labels.ids, labels.names, strict=True))
    return {
        **FORMAT,
        "flarekit": __version__,
        "image": image.path.name if image.path else None,
        "model": {"checkpoint": card.reference, "weights_sha256": card.weights_sha256},
        "annotated": [{"slice": z, "mm": round(image.z_mm(z), 2)} for z in drawing.slices],
        "filled": list(result.filled),
        "organs": [
            _organ(number, names.get(number, f"label {number}"), result, column)
            for column, number in enumerate(drawing.ids)
        ],
        "settings": toml.to_dict(config),
    }


def _organ(number: int, name: str, result: Propagated, column: int) -> dict[str, Any]:
    confidence = result.confidence[list(result.filled), column]
    return {
        "id": number,
        "name": name,
        "volume_ml": round(np.count_nonzero(result.labels.array == number) * result.labels.voxel_ml, 3),
        "confidence": [round(float(value), 4) for value in confidence],
    }
