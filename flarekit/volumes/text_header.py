"""The text that NRRD and MetaImage begin with: fields by name, each read strictly or refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

_HEADER_BYTES = 1 << 20  # a longer one is none
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_LARGEST = 1e15  # a length in mm beyond this is none
_SHOWN = 60  # characters of a bad value in a message


@dataclass(frozen=True)
class TextHeader:
    """Values by the field's name as written in messages. What cannot be read raises ValueError with that name."""

    fields: Mapping[str, str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> TextHeader:
        """A header of (name, value) pairs. Raises ValueError when a name is there twice with different values."""
        fields: dict[str, str] = {}
        for name, value in pairs:
            if fields.get(name, value) != value:
                raise ValueError(f"its field '{name}' is there twice")
            fields[name] = value
        return cls(fields)

    def choice(self, name: str, choices: Mapping[str, object], default: str | None = None) -> object:
        """What stands in `choices` for the field's value, in any letter case."""
        value = self.text(name, default)
        if value.lower() not in choices:
            raise self.refusal(name)
        return choices[value.lower()]

    def text(self, name: str, default: str | None = None) -> str:
        """The field's value as written."""
        value = self.fields.get(name, default)
        if value is None:
            raise ValueError(f"it has no field '{name}'")
        return value

    def integers(self, name: str, default: str | None = None) -> tuple[int, ...]:
        """The field's whole numbers, separated by spaces."""
        words = self.text(name, default).split()
        if not words or not all(map(_INTEGER.fullmatch, words)):
            raise self.refusal(name)
        return tuple(map(int, words))

    def numbers(self, name: str, count: int, default: np.ndarray) -> np.ndarray:
        """(count,) float64, all finite, separated by spaces; `default` where the field is missing."""
        return self.finite(name, self.fields[name].split(), count) if name in self.fields else default

    def finite(self, name: str, words: list[str], count: int) -> np.ndarray:
        """(count,) float64 of `words`, which are a part of field `name`, within what can be squared and summed."""
        if len(words) != count or not all(map(_NUMBER.fullmatch, words)):
            raise self.refusal(name)
        numbers = np.array([float(word) for word in words])
        if (np.abs(numbers) > _LARGEST).any():
            raise self.refusal(name)
        return numbers

    def file_beside(self, name: str, path: Path) -> Path:
        """The file that field `name` names in the folder of `path`; other folders, lists and devices are refused."""
        value = self.text(name).removeprefix("./")
        if Path(value).name != value or not (beside := path.with_name(value)).is_file():
            raise ValueError(f"{self.refusal(name)}, which is no file beside it")
        return beside

    def refusal(self, name: str) -> ValueError:
        """The error for a field whose value makes no sense."""
        value = self.fields.get(name, "")
        shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
        return ValueError(f"its field '{name}' says {shown!r}")


def text_lines(file: BinaryIO) -> Iterator[str]:
    """The lines from where `file` stands, without their ends; `file` stands behind each as it is handed out."""
    left = _HEADER_BYTES
    while line := file.readline(left):
        left -= len(line)
        if not left:
            raise ValueError("its header never ends")
        yield line.decode("utf-8", "replace").rstrip("\r\n")
