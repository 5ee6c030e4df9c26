"""Organs: their names, their ids in label files, their left/right pairs, and the classes networks see.

A label file holds ids (any integers); networks, stores and scores work with classes: 0 is background and
the organs follow as 1..n in the order of the set. `IGNORE` marks voxels whose class is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.errors import InputError, UsageError
from flarekit.files import input_errors

IGNORE = 255
DESCRIPTION = "dataset.json"  # the file beside a data set's cases that names its organs
_IGNORE_NAME = "ignore"  # nnU-Net's name for the label of voxels whose class is not known


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """The organs of a data set. Raises ValueError when names, ids and pairs do not fit together."""

    name: str  # of the set, for messages and cards
    names: tuple[str, ...]  # organs in class order: class c is names[c - 1]
    ids: tuple[int, ...]  # their ids in label files
    pairs: tuple[tuple[str, str], ...] = ()  # organs that a left/right mirror exchanges
    ignore_id: int | None = None  # in label files, of voxels whose class is not known

    def __post_init__(self) -> None:
        if not self.names or len(self.names) >= IGNORE:
            raise ValueError(f"a label set has 1 to {IGNORE - 1} organs, got {len(self.names)}")
        if len(self.names) != len(self.ids):
            raise ValueError(f"{len(self.names)} names but {len(self.ids)} ids")
        if len(set(self.names)) != len(self.names) or len(set(self.ids)) != len(self.ids):
            raise ValueError(f"names and ids must be unique, got {self.names} and {self.ids}")
        if any(i <= 0 or i > 65535 for i in self.ids):
            raise ValueError(f"organ ids lie in 1..65535 (0 is background), got {self.ids}")
        if self.ignore_id is not None and (self.ignore_id in (0, *self.ids) or not 0 < self.ignore_id <= 65535):
            raise ValueError(f"the ignore label has an id of its own in 1..65535, got {self.ignore_id}")
        paired = [organ for pair in self.pairs for organ in pair]
        if any(len(pair) != 2 for pair in self.pairs) or len(set(paired)) != len(paired):
            raise ValueError(f"pairs name two different organs each, got {self.pairs}")
        if unknown := set(paired) - set(self.names):
            raise ValueError(f"pairs name unknown organs {sorted(unknown)}")

    def same_organs(self, other: LabelSet) -> bool:
        """Whether both sets mean the same by their classes and ids, whatever they are called, and what they ignore."""
        return (self.names, self.ids, self.pairs) == (other.names, other.ids, other.pairs)

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.names) + 1

    def class_of(self, organ: str) -> int:
        """The class of an organ by name (case, spaces, hyphens and underscores do not matter). Raises UsageError."""
        wanted = plain_name(organ)
        for index, name in enumerate(self.names, start=1):
            if plain_name(name) == wanted:
                return index
        raise UsageError(f"unknown organ {organ!r}", remedy=f"Known: {', '.join(self.names)}.")

    def parse(self, organs: str | None) -> tuple[int, ...]:
        """Classes of a comma-separated list of names, in class order; all of them for None.

        Raises UsageError for an unknown organ, or where none is named.
        """
        if organs is None:
            return tuple(range(1, self.classes))
        classes = {self.class_of(organ) for organ in organs.split(",") if organ.strip()}
        if not classes:
            raise UsageError(f"{organs!r} names no organ", remedy=f"Known: {', '.join(self.names)}.")
        return tuple(sorted(classes))

    def mirror_table(self) -> np.ndarray:
        """uint8 (256,): the class a voxel has after a left/right mirror; identity but for the pairs."""
        table = np.arange(256, dtype=np.uint8)
        for left, right in self.pairs:
            a, b = self.class_of(left), self.class_of(right)
            table[a], table[b] = b, a
        return table

    def to_classes(self, ids: np.ndarray, *, where: str | Path | None = None) -> np.ndarray:
        """uint8 classes of an integer array of ids, IGNORE where they say so.

        Raises InputError naming ids that are not in the set.
        """
        outside = max((*self.ids, self.ignore_id or 0)) + 1
        table = np.full(outside + 1, IGNORE, dtype=np.uint8)
        table[0] = 0
        table[list(self.ids)] = np.arange(1, self.classes, dtype=np.uint8)
        low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
        plain = low >= 0 and high <= outside
        classes = table[ids if plain else np.where((ids < 0) | (ids > outside), outside, ids)]
        if unknown := self._unknown_ids(ids, classes):
            raise InputError(
                f"holds label ids {sorted(unknown)[:5]} that the label set {self.name!r} does not name",
                where=where,
                remedy="Describe the labels in dataset.json, or check that this is the right file.",
            )
        return classes

    def _unknown_ids(self, ids: np.ndarray, classes: np.ndarray) -> set[int]:
        """Slice by slice: a mask of a whole volume would be the most memory that preprocessing takes."""
        unknown: set[int] = set()
        for plane, known in zip(np.atleast_2d(ids), np.atleast_2d(classes), strict=True):
            is_unknown = known == IGNORE
            if self.ignore_id is not None:
                is_unknown &= plane != self.ignore_id
            unknown.update(np.unique(plane[is_unknown]).tolist() if is_unknown.any() else ())
        return unknown

    def to_ids(self, classes: np.ndarray) -> np.ndarray:
        """Ids of an array of classes (no IGNORE in it), uint8 where they fit, else uint16."""
        dtype = np.uint8 if max(self.ids) < 256 else np.uint16
        return np.array((0, *self.ids), dtype=dtype)[classes]

    def to_json(self) -> dict[str, object]:
        """A plain dictionary that `from_json` reads back."""
        data: dict[str, object] = {
            "name": self.name,
            "names": list(self.names),
            "ids": list(self.ids),
            "pairs": [list(pair) for pair in self.pairs],
        }
        return data if self.ignore_id is None else data | {"ignore_id": self.ignore_id}

    @classmethod
    def from_json(cls, data: dict) -> LabelSet:
        """The inverse of `to_json`. Raises ValueError or KeyError on other data."""
        return cls(
            name=data["name"],
            names=tuple(data["names"]),
            ids=tuple(int(i) for i in data["ids"]),
            pairs=tuple((a, b) for a, b in data["pairs"]),
            ignore_id=data.get("ignore_id"),
        )


FLARE22 = LabelSet(
    name="flare22",
    names=(
        "liver",
        "right_kidney",
        "spleen",
        "pancreas",
        "aorta",
        "inferior_vena_cava",
        "right_adrenal_gland",
        "left_adrenal_gland",
        "gallbladder",
        "esophagus",
        "stomach",
        "duodenum",
        "left_kidney",
    ),
    ids=tuple(range(1, 14)),
    pairs=(("right_kidney", "left_kidney"), ("right_adrenal_gland", "left_adrenal_gland")),
)


def read_dataset_json(path: Path) -> LabelSet:
    """The label set a `dataset.json` describes (nnU-Net's file, with an optional list `pairs` of paired organs).

    Both of nnU-Net's forms of `labels` are read, name to id and id to name; the label called `ignore` is no organ:
    its voxels count neither in training nor in evaluation. Raises InputError.
    """
    try:
        with input_errors(path):
            data = json.loads(path.read_text(encoding="utf-8-sig"))
        ids = dict(_named_ids(data["labels"]))
        organs = sorted((number, name) for name, number in ids.items() if number != 0 and name != _IGNORE_NAME)
        return LabelSet(
            name=str(data.get("name", path.parent.name)),
            names=tuple(name for _, name in organs),
            ids=tuple(number for number, _ in organs),
            pairs=tuple((a, b) for a, b in data.get("pairs", ())),
            ignore_id=ids.get(_IGNORE_NAME),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"does not describe labels ({error})",
            where=path,
            remedy='It needs "labels": {"background": 0, "liver": 1, ...} and may have "pairs": [[left, right]].',
        ) from error


def plain_name(organ: str) -> str:
    """Its letters and digits in lower case: one organ however its name is spelled."""
    return "".join(c for c in organ.lower() if c.isalnum())


def _named_ids(labels: dict) -> Iterator[tuple[str, int]]:
    for key, value in labels.items():
        name, number = (value, key) if isinstance(value, str) else (key, value)
        if isinstance(number, list):
            raise ValueError(f"regions such as {name!r} are not supported, only plain ids")
        if not float(number).is_integer():
            raise ValueError(f"the id of {name!r} is no whole number: {number}")
        yield name, int(float(number))
