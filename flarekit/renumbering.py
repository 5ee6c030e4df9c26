"""Which organs a label map holds, and by which ids: a model's own, another project's, or those of a file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flarekit.errors import InputError, UsageError
from flarekit.files import input_errors
from flarekit.labels import FLARE22, LabelSet, plain_name

# Task `total` of version 2 (totalsegmentator/map_to_binary.py).
TOTALSEGMENTATOR = {
    "spleen": 1,
    "right_kidney": 2,
    "left_kidney": 3,
    "gallbladder": 4,
    "liver": 5,
    "stomach": 6,
    "pancreas": 7,
    "right_adrenal_gland": 8,
    "left_adrenal_gland": 9,
    "esophagus": 15,
    "duodenum": 19,
    "aorta": 52,
    "inferior_vena_cava": 63,
}
NUMBERINGS: Mapping[str, Mapping[str, int]] = {
    "flare22": dict(zip(FLARE22.names, FLARE22.ids, strict=True)),
    "totalsegmentator": TOTALSEGMENTATOR,
}
_LARGEST = 65535


@dataclass(frozen=True)
class WrittenLabels:
    """The organs of a label map to write: some of a model's, by ids of their own."""

    model: LabelSet  # whose classes are written
    ids: Mapping[int, int]  # class to id, in class order; other classes become background

    @classmethod
    def of(cls, model: LabelSet, organs: str | None = None, label_map: str | None = None) -> WrittenLabels:
        """The `organs` (a list of names with commas between; all without it), numbered as `label_map` says.

        That is one of `NUMBERINGS` or a TOML or JSON file of names and ids; the model's own ids without it. Raises
        UsageError for an unknown organ or one that gets no id, InputError for a file that cannot be understood.
        """
        classes = model.parse(organs)
        if label_map is None:
            return cls(model, {c: model.ids[c - 1] for c in classes})
        numbers = {plain_name(name): number for name, number in read_numbering(label_map).items()}
        if missing := [model.names[c - 1] for c in classes if plain_name(model.names[c - 1]) not in numbers]:
            raise UsageError(
                f"the label map {label_map!r} has no id for {', '.join(missing)}",
                remedy="Add them, or leave them out: name the others with --organs.",
            )
        return cls(model, {c: numbers[plain_name(model.names[c - 1])] for c in classes})

    def as_segments(self) -> WrittenLabels:
        """The same organs, numbered 1, 2, ... in class order as a DICOM-SEG's segments are."""
        return WrittenLabels(self.model, {c: number for number, c in enumerate(self.ids, start=1)})

    @property
    def names(self) -> dict[int, str]:
        """Id to organ."""
        return {number: self.model.names[c - 1] for c, number in self.ids.items()}

    def only(self, classes: np.ndarray) -> np.ndarray:
        """The classes (uint8, any shape) with those that are not written as background."""
        table = np.zeros(256, dtype=np.uint8)
        table[list(self.ids)] = list(self.ids)
        return table[classes]

    def to_ids(self, classes: np.ndarray) -> np.ndarray:
        """Ids of classes (uint8, any shape), uint8 where they fit, else uint16."""
        table = np.zeros(256, dtype=np.uint8 if max(self.ids.values()) < 256 else np.uint16)
        table[list(self.ids)] = list(self.ids.values())
        return table[classes]


def read_numbering(name: str) -> Mapping[str, int]:
    """Organ to id: one of `NUMBERINGS`, or of a .toml or .json file. Raises InputError or UsageError."""
    if name in NUMBERINGS:
        return NUMBERINGS[name]
    path = Path(name)
    if path.suffix.lower() not in (".toml", ".json"):
        raise UsageError(
            f"unknown label map {name!r}", remedy=f"Use {', '.join(NUMBERINGS)}, or a .toml or .json file of name = id."
        )
    try:
        with input_errors(path):
            return _checked(_loaded(path))
    except ValueError as error:
        raise InputError(
            f"is no label map ({error})", where=path, remedy="Write organs and their ids: liver = 1 in TOML."
        ) from error


def _loaded(path: Path) -> Any:
    text = path.read_text(encoding="utf-8-sig")
    data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text, object_pairs_hook=_once)
    return data.get("labels", data) if isinstance(data, dict) else data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's members, by name. Raises ValueError where a name is there twice."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _checked(data: Any) -> dict[str, int]:
    if not isinstance(data, dict) or not data:
        raise ValueError("it holds no names with ids")
    for organ, number in data.items():
        if type(number) is not int or not (0 < number <= _LARGEST or (organ == "background" and number == 0)):
            raise ValueError(f"the id of {organ!r} lies in 1..{_LARGEST}, got {number!r}")
    if len(set(data.values())) != len(data):
        raise ValueError("two organs have the same id")
    if len({plain_name(organ) for organ in data}) != len(data):
        raise ValueError("an organ is there twice")
    return {organ: number for organ, number in data.items() if number}
