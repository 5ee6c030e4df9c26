"""The ledger of a pseudo-labelling round: JSON lines, one record a case, in `ledger.jsonl`.

A record is appended and flushed when its case is finished. A run that was killed while writing leaves at most
one incomplete last line, which is dropped when the ledger is opened again. A case that failed and is tried again
has several records, of which the last one holds. Version 1, of models alone, is read as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from flarekit.errors import InputError, UsageError
from flarekit.files import atomic_path, output_errors

FORMAT = 2
LEDGER = "ledger.jsonl"
KEPT, REJECTED, FAILED = "kept", "rejected", "failed"
_START_ANEW = "Choose another output folder, or pass --overwrite to start anew."


@dataclass(frozen=True, kw_only=True)
class MemberEntry:
    """Who voted."""

    name: str  # NAME@VERSION, with +NAME@VERSION of the propagation where there is one; or a folder of label maps
    kind: str  # "checkpoint", "chain" (a checkpoint's slices, propagated) or "masks"
    weights_sha256: str | None = None  # of the reference checkpoint; label maps have one a case, in its record
    propagation_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What every record of one round has in common. Raises ValueError with fewer than two members."""

    round: int  # of training and labelling in turn, from 1
    members: tuple[MemberEntry, ...]  # by name, so that their order on the command line does not matter
    organs: tuple[str, ...]  # in class order
    threshold: float
    combine: str = "probabilities"
    mode: str = "dice"  # of the score
    per_organ: bool = False
    certainty: float = 0.0  # of the voxels that are not "ignore"
    layout: str = "plain"
    backend: str | None = None  # what ran the reference modules; None in records of version 1, which do not say
    hu_offset_asked: str | None = None  # --hu-offset; None in records of version 1
    previous: str | None = None  # the folder whose masks the score compares with
    ids: tuple[int, ...] | None = None  # of the organs in the written masks; None in records that do not say

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold lies in 0..1, got {self.threshold}")
        if len(self.members) < 2:
            raise ValueError(f"a consensus needs two members at least, got {len(self.members)}")

    def differences(self, other: RoundSettings) -> list[str]:
        """Names of the settings that are not the same; one that either does not know is held to be the same."""
        differ = [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]
        optional = ("backend", "hu_offset_asked", "ids")
        unknown = [name for name in optional if None in (getattr(self, name), getattr(other, name))]
        return [name for name in differ if name not in unknown]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One case's outcome; of a case that failed, there is a reason and no score."""

    case: str
    status: str  # kept, rejected or failed
    reason: str  # why, in words
    image_sha256: str | None = None
    mask_sha256: dict[str, str] = field(default_factory=dict)  # of the label maps that voted, by member
    score: float | None = None  # by the round's mode; None when it says nothing of this case
    case_scores: dict[str, float | None] = field(default_factory=dict)  # by every mode there is a score of
    member_scores: dict[str, float | None] = field(default_factory=dict)  # mean over organs, by member
    organ_scores: dict[str, dict[str, float | None]] = field(default_factory=dict)  # by member and organ
    organ_means: dict[str, dict[str, float | None]] = field(default_factory=dict)  # by mode and organ; None: left out
    ignored: tuple[str, ...] = ()  # organs that are not trusted: their voxels are "ignore" in a mask that is kept
    mask: str | None = None  # the file, relative to the ledger: in labels/, or of a rejected case in rejected/
    uncertainty: str | None = None  # likewise
    seconds: float = 0.0
    hu_offset: int = 0  # what was taken off the image's values to make them HU

    @property
    def kept(self) -> bool:
        """Whether its mask is trusted."""
        return self.status == KEPT


@dataclass(frozen=True, kw_only=True)
class LedgerFile:
    """A ledger as it lies on the disk."""

    settings: RoundSettings
    records: dict[str, Record]  # by case; the last of each


def read_ledger(path: Path) -> LedgerFile:
    """The ledger of a finished or unfinished round; nothing is changed on the disk.

    Raises InputError when it is missing, holds no record, or its records are of different rounds.
    """
    if not path.exists():
        raise InputError("does not exist", where=path, remedy="Give the ledger.jsonl that `pseudolabel` wrote.")
    lines = list(_parsed(path))
    if not lines:
        raise InputError("holds no record", where=path, remedy="No case was finished: run `pseudolabel` again.")
    settings = lines[-1][0]
    for number, (other, _) in enumerate(lines, start=1):
        if changed := settings.differences(other):
            raise InputError(
                f"is of another round than the last line: another {', '.join(changed)}",
                where=f"{path}, line {number}",
            )
    return LedgerFile(settings=settings, records={record.case: record for _, record in lines})


class Ledger:
    """The records of one round in one file. Raises InputError or UsageError when the file is of other settings."""

    def __init__(self, path: Path, settings: RoundSettings) -> None:
        self.path, self.settings = path, settings
        _drop_torn_line(path)
        lines = _parsed(path) if path.exists() else ()
        self.records = {record.case: record for record in self._ours(lines)}

    def append(self, record: Record) -> None:
        """Add a case's record, on the disk before this returns. Raises OutputError."""
        # ASCII, so that a line cut short is still text and no character but the line feed ends one.
        header = {"format": "flarekit-ledger", "version": FORMAT} | asdict(self.settings)
        line = json.dumps(header | asdict(record), allow_nan=False)
        with output_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records[record.case] = record

    def _ours(self, lines: Iterator[tuple[RoundSettings, Record]] | tuple[()]) -> Iterator[Record]:
        for settings, record in lines:
            if changed := self.settings.differences(settings):
                raise UsageError(
                    f"was made with another {', '.join(changed)}",
                    where=self.path,
                    remedy="Repeat the first run's settings, choose another output folder, or pass --overwrite.",
                )
            yield record


def recorded_files(path: Path) -> list[str]:
    """Names, relative to the ledger, of the files a ledger of any settings speaks of; lines of another kind have none.

    No name leads out of the ledger's folder.
    """
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError, TypeError, AttributeError):
            data = json.loads(line)
            found += [name for key in ("mask", "uncertainty") if isinstance(name := data.get(key), str)]
    return [name for name in found if not Path(name).is_absolute() and ".." not in Path(name).parts]


def _parsed(path: Path) -> Iterator[tuple[RoundSettings, Record]]:
    """Settings and record of every whole line. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=path, remedy=_START_ANEW) from error
    for number, line in enumerate(text.rpartition("\n")[0].splitlines(), start=1):
        try:
            data = json.loads(line)
            yield _reader(data["version"])(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"is no record of a ledger ({error})", where=f"{path}, line {number}", remedy=_START_ANEW
            ) from error


def _reader(version: object) -> Callable[[dict[str, Any]], tuple[RoundSettings, Record]]:
    """What reads a line of this version. Raises ValueError where nothing does."""
    if version not in _READERS:
        raise ValueError(f"a ledger of version {version}, and this flarekit reads {' and '.join(map(str, _READERS))}")
    return _READERS[version]


def _drop_torn_line(path: Path) -> None:
    """Whole lines stay; what a killed run left after the last of them goes."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(whole + b"\n" if whole else b"")


def _from_version_2(data: dict[str, Any]) -> tuple[RoundSettings, Record]:
    names = {f.name for f in fields(RoundSettings)}
    common = {name: data[name] for name in names - {"ids", "certainty"}}
    common["certainty"] = data.get("certainty", RoundSettings.certainty)  # which older records do not say
    common["ids"] = tuple(data["ids"]) if data.get("ids") is not None else None
    common["members"] = tuple(MemberEntry(**entry) for entry in data["members"])
    common["organs"] = tuple(data["organs"])
    own = {key: value for key, value in data.items() if key not in names | {"format", "version"}}
    return RoundSettings(**common), Record(**own | {"ignored": tuple(own["ignored"])})


def _from_version_1(data: dict[str, Any]) -> tuple[RoundSettings, Record]:
    """Models alone, whose probabilities were summed, scored by Dice case by case."""
    entries = [
        MemberEntry(name=model["checkpoint"], kind="checkpoint", weights_sha256=model["weights_sha256"])
        for model in data["models"]
    ]
    settings = RoundSettings(
        round=data["round"],
        members=tuple(sorted(entries, key=lambda entry: entry.name)),
        organs=tuple(next(iter(data["organ_scores"].values()))),
        threshold=data["threshold"],
    )
    record = Record(
        case=data["case"],
        status=KEPT if data["kept"] else REJECTED,
        reason=data["reason"],
        image_sha256=data["image_sha256"],
        score=data["score"],
        case_scores={"dice": data["score"]},
        member_scores=data["model_scores"],
        organ_scores=data["organ_scores"],
        mask=data["mask"],
        seconds=data["seconds"],
        hu_offset=data.get("hu_offset", 0),
    )
    return settings, record


_READERS = {1: _from_version_1, 2: _from_version_2}
