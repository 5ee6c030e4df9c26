"""The ledger of a pseudo-labelling round: JSON lines, one record a case, in `ledger.jsonl`.

A record is appended and flushed when its case is finished. A run that was killed while writing leaves at most
one incomplete last line, which is dropped when the ledger is opened again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flarekit.errors import InputError, UsageError
from flarekit.files import output_errors, write_text

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A checkpoint that voted."""

    checkpoint: str  # NAME@VERSION
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What every record of one round has in common. Raises ValueError on a threshold outside 0..1."""

    round: int  # of training and labelling in turn, from 1
    models: tuple[ModelEntry, ...]
    threshold: float  # a case is kept when its mean Dice reaches it

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold lies in 0..1, got {self.threshold}")
        if len(self.models) < 2:
            raise ValueError(f"a consensus needs two models at least, got {len(self.models)}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One case's outcome."""

    case: str
    image_sha256: str
    kept: bool
    reason: str  # why, in words
    score: float | None  # mean Dice against the consensus; None when no model found any organ
    model_scores: dict[str, float | None]  # mean over organs, by checkpoint
    organ_scores: dict[str, dict[str, float | None]]  # by checkpoint and organ; None: left out
    mask: str | None  # the pseudo-label's file, relative to the ledger; None when rejected
    seconds: float
    hu_offset: int = 0  # what was taken off the image's values to make them HU


class Ledger:
    """The records of one round in one file. Raises InputError when the file is no ledger of these settings."""

    def __init__(self, path: Path, settings: RoundSettings) -> None:
        self.path, self.settings = path, settings
        self.records = {record.case: record for record in self._read()}

    def append(self, record: Record) -> None:
        """Add a case's record, on the disk before this returns. Raises OutputError."""
        # ASCII, so that a line cut short is still text and no character but the line feed ends one.
        line = json.dumps(self._header() | asdict(record), allow_nan=False)
        with output_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records[record.case] = record

    def _header(self) -> dict[str, Any]:
        return {"format": "flarekit-ledger", "version": FORMAT} | json.loads(json.dumps(asdict(self.settings)))

    def _read(self) -> list[Record]:
        if not self.path.exists():
            return []
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", where=self.path) from error
        whole, _, incomplete = text.rpartition("\n")
        if incomplete:
            write_text(self.path, whole + "\n" if whole else "", overwrite=True)
        return [self._parse(line, number) for number, line in enumerate(whole.splitlines(), start=1)]

    def _parse(self, line: str, number: int) -> Record:
        try:
            data = json.loads(line)
            header = {key: data.pop(key) for key in self._header()}
            record = Record(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"is no record of a ledger ({error})",
                where=f"{self.path}, line {number}",
                remedy="Choose another output folder, or pass --overwrite to start anew.",
            ) from error
        if header != self._header():
            changed = ", ".join(key for key, value in self._header().items() if header[key] != value)
            raise UsageError(
                f"was made with another {changed}",
                where=self.path,
                remedy="Repeat the first run's settings, choose another output folder, or pass --overwrite.",
            )
        return record


def recorded_masks(path: Path) -> list[str]:
    """File names of the masks in a ledger of any settings; lines that are no record have none."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    names = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            names.append(Path(json.loads(line)["mask"]).name)
    return names
