"""The JSON beside a mask, as a report reads it: from `segment`, from `propagate`, or just names of labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flarekit.errors import InputError
from flarekit.files import input_errors
from flarekit.labels import LabelSet
from flarekit.report.sidecar_shape import SHAPES, misfit
from flarekit.report.slice_numbers import number_in_file
from flarekit.volumes import Volume
from flarekit.volumes.label_names import label_names

_NAMES = "flarekit-label-names"


def read_sidecar(path: Path) -> dict[str, Any]:
    """The facts in a mask's JSON; empty where there is none, or one that is not flarekit's.

    What `propagate` writes is told in the words of `segment`: annotated slices are references, `model` is a model.
    Raises InputError when the file cannot be read or is damaged.
    """
    if not path.exists():
        return {}
    try:
        with input_errors(path, remedy="Check its permissions."):
            data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or str(data.get("format")) not in SHAPES:
            return {}
        if wrong := misfit(data, SHAPES[data["format"]]):
            raise ValueError(wrong)
        sidecar = _in_one_form({name: value for name, value in data.items() if value is not None})
        labels_of(sidecar)
        return sidecar
    except ValueError as error:
        raise InputError(
            f"is damaged ({error})", where=path, remedy="Move it away to have a report without it."
        ) from error


def labels_of(sidecar: Mapping[str, Any]) -> LabelSet | None:
    """The organs that a sidecar names, None where it names none."""
    organs = sidecar.get("organs", ())
    if not organs:
        return None
    names, ids = zip(*((organ["name"], organ["id"]) for organ in organs), strict=True)
    return LabelSet(name="sidecar", names=names, ids=ids)


def labels_in_header(mask: Path) -> LabelSet | None:
    """The organs that a label map's own header names, None where it names none."""
    names = label_names(mask)
    try:
        return LabelSet(name="header", names=tuple(names.values()), ids=tuple(names)) if names else None
    except ValueError:  # a name or number that is there twice
        return None


def certainty_of(sidecar: Mapping[str, Any], volume: Volume, labels: LabelSet) -> np.ndarray | None:
    """float64 (organs, Z): how sure it is of organs by slice, NaN where it says nothing; None for nothing."""
    by_slice = {organ["name"]: organ.get("confidence_by_slice", {}) for organ in sidecar.get("organs", ())}
    if not any(by_slice.values()):
        return None
    result = np.full((len(labels.names), len(volume.array)), np.nan)
    for row, name in enumerate(labels.names):
        for number, confidence in by_slice.get(name, {}).items():
            if 0 <= int(number) < len(volume.array):
                result[row, number_in_file(volume, int(number))] = confidence
    return result


def _in_one_form(data: dict[str, Any]) -> dict[str, Any]:
    if data["format"] == _NAMES:
        organs = [{"name": name, "id": int(number)} for number, name in data["labels"].items()]
        return {"organs": sorted(organs, key=lambda organ: organ["id"])}
    if data["format"] == "flarekit-propagation":
        organs = [_propagated(organ, data["filled"]) for organ in data["organs"]]
        return data | {"references": data["annotated"], "models": {"propagation": data["model"]}, "organs": organs}
    return data


def _propagated(organ: dict[str, Any], filled: Sequence[int]) -> dict[str, Any]:
    """An organ whose list of confidences, one a filled slice, is told by slice number."""
    by_slice = dict(zip(map(str, filled), organ["confidence"], strict=True))
    return organ | {"confidence": None, "confidence_by_slice": by_slice}
