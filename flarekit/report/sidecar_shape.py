"""What a report reads of a sidecar, and of which kind it has to be: people edit these files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_NOTHING = type(None)  # the kind of an entry that may be missing or null
_NUMBER = (int, float)
_MAYBE_NUMBER, _MAYBE_TEXT = (*_NUMBER, _NOTHING), (str, _NOTHING)
_ORGAN = {"name": str, "id": int}
_MODEL = {"checkpoint": str, "weights_sha256": str}
_SLICES = [{"slice": int}]
_SHARED = {
    "image": _MAYBE_TEXT,
    "flags": ([{"text": str, "severity": _MAYBE_TEXT, "organ": _MAYBE_TEXT}], _NOTHING),
    "seconds": ({str: _NUMBER}, _NOTHING),
    "settings": ({str: object}, _NOTHING),
}
# By format. A type; a tuple of what is possible; a list of one shape; a dictionary of shapes by name, `str` for any.
SHAPES: dict[str, dict[Any, Any]] = {
    "flarekit-segmentation": _SHARED
    | {
        "organs": ([_ORGAN | {"confidence": _MAYBE_NUMBER, "volume_ml": _MAYBE_NUMBER}], _NOTHING),
        "references": (_SLICES, _NOTHING),
        "sampled": ([int], _NOTHING),
        "second_pass": ({"slices": [int]}, _NOTHING),
        "models": ({str: _MODEL}, _NOTHING),
    },
    "flarekit-propagation": _SHARED
    | {
        "organs": [_ORGAN | {"confidence": [_MAYBE_NUMBER], "volume_ml": _MAYBE_NUMBER}],
        "annotated": _SLICES,
        "filled": [int],
        "model": _MODEL,
    },
    "flarekit-label-names": {"labels": {str: str}},
}


def misfit(data: object, shape: Any, place: str = "it") -> str | None:
    """Where data is not of that shape, in words; None where it is."""
    if isinstance(shape, tuple):
        misfits = [misfit(data, each, place) for each in shape]
        return None if None in misfits else misfits[0]
    if isinstance(shape, type):
        return None if isinstance(data, shape) else f"{place} is {data!r:.40}"
    if not isinstance(data, type(shape)):
        return f"{place} is {data!r:.40}"
    if isinstance(shape, list):
        return _first(misfit(item, shape[0], f"{place}[{index}]") for index, item in enumerate(data))
    shapes = dict.fromkeys(data, shape[str]) if str in shape else shape
    return _first(misfit(data.get(key), each, key) for key, each in shapes.items())


def _first(misfits: Iterable[str | None]) -> str | None:
    return next((each for each in misfits if each is not None), None)
