"""A slice store: a folder with `store.json` and one HDF5 file a case, so that writers never meet."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flarekit.config.preprocessing import WindowPreset
from flarekit.data.case_file import StoredCase
from flarekit.data.case_header import windows_from_json, windows_to_json
from flarekit.data.compression import DEFAULT
from flarekit.errors import InputError, OutputError
from flarekit.files import require_writable, write_json, write_json_once
from flarekit.labels import LabelSet

FORMAT, VERSION = "flarekit-slice-store", 1
_MAX_OPEN_CASES = 64  # a process may hold about a thousand files open; stores hold thousands of cases


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """What all cases of a store share: the content of `store.json`."""

    labels: LabelSet  # what the classes of all cases mean
    baked: WindowPreset | None = None  # windows baked into the images; None keeps HU
    compression: str = DEFAULT  # of new cases; see `flarekit.data.compression`
    tissues: str | None = None  # recipe that images are painted by as they are read: `hu` holds tissues; None: HU

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that `from_json` reads back."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "labels": self.labels.to_json(),
            "windows": None if self.baked is None else windows_to_json(self.baked),
            "compression": self.compression,
            **({} if self.tissues is None else {"tissues": self.tissues}),
        }

    @property
    def content(self) -> str:
        """What images are stored as, in words."""
        if self.tissues is not None:
            return f"tissues painted by {self.tissues!r}"
        return "HU" if self.baked is None else f"baked windows {self.baked.name!r}"

    def difference(self, other: StoreConfig) -> str:
        """Where cases made with `other` do not fit in, as "windows paper, not none"; empty when they do."""
        if _organs(self.labels) != _organs(other.labels):
            return f"organs {_organs(self.labels)}, not {_organs(other.labels)}"
        if self.labels.pairs != other.labels.pairs:
            return f"left/right pairs {self.labels.pairs}, not {other.labels.pairs}"
        if (self.baked, self.tissues) != (other.baked, other.tissues):
            return f"{self.content}, not {other.content}"
        return ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StoreConfig:
        """The inverse of `to_json`. Raises ValueError or KeyError on other data."""
        if (data["format"], data["version"]) != (FORMAT, VERSION):
            raise ValueError(f"unknown format {data['format']} version {data['version']}")
        windows = data["windows"]
        return cls(
            labels=LabelSet.from_json(data["labels"]),
            baked=None if windows is None else windows_from_json(windows),
            compression=data["compression"],
            tissues=data.get("tissues"),
        )


class SliceStore:
    """The cases of a folder, read slice by slice; safe to fork and to pickle into workers."""

    def __init__(self, path: Path, config: StoreConfig) -> None:
        self.path, self.config = path, config
        self._open: OrderedDict[str, StoredCase] = OrderedDict()

    @classmethod
    def open(cls, path: Path) -> SliceStore:
        """The store in a folder. Raises InputError when there is none, or of another version."""
        description = path / "store.json"
        try:
            return cls(path, StoreConfig.from_json(json.loads(description.read_text(encoding="utf-8"))))
        except FileNotFoundError as error:
            raise InputError(
                "is not a slice store: it has no store.json",
                where=path,
                remedy="Make one with flarekit preprocess.",
            ) from error
        except OSError as error:
            raise InputError(
                f"cannot be read ({error.strerror})", where=description, remedy="Check the path."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"does not describe a slice store ({error})",
                where=description,
                remedy="Make the store again with flarekit preprocess, or update flarekit if a newer one made it.",
            ) from error

    @classmethod
    def create(cls, path: Path, config: StoreConfig) -> SliceStore:
        """A new, empty store. Raises OutputError when the folder has a store or cannot be written."""
        write_json(path / "store.json", config.to_json())
        return cls(path, config)

    @classmethod
    def open_or_plan(cls, path: Path, config: StoreConfig) -> SliceStore:
        """The store in a folder; when there is none a new one, of which nothing is written before `settle`.

        Raises OutputError when the store has other organs or windows, or none could be made.
        """
        description = path / "store.json"
        if not os.path.isfile(description):  # unlike Path.is_file, False for a name that is too long
            require_writable(description)
            return cls(path, config)
        store = cls.open(path)
        if difference := store.config.difference(config):
            raise OutputError(
                f"was made with other settings: {difference}",
                where=path,
                remedy="Give the same ones, or choose another folder.",
            )
        return store

    def settle(self) -> None:
        """Write `store.json` unless it is there; processes that store cases at once may all call this.

        Raises OutputError when the one there has other organs or windows, or none can be written.
        """
        write_json_once(self.path / "store.json", self.config.to_json())
        self.open_or_plan(self.path, self.config)

    def require_compression(self, compression: str) -> None:
        """Raises OutputError when new cases are compressed in another way."""
        if self.config.compression != compression:
            raise OutputError(
                f"was made with other settings: compression {self.config.compression}, not {compression}",
                where=self.path,
                remedy="Leave out --compression, or choose another folder.",
            )

    @property
    def labels(self) -> LabelSet:
        """What the classes mean."""
        return self.config.labels

    @property
    def cases(self) -> list[str]:
        """Names of the cases that are there now, sorted."""
        return sorted(file.stem for file in self.path.glob("*.h5") if not file.name.startswith("."))

    def case_path(self, name: str) -> Path:
        """The file a case of this name has, there or not."""
        return self.path / f"{name}.h5"

    def case(self, name: str) -> StoredCase:
        """The case of this name; at most some dozens of files stay open. Raises InputError."""
        if name not in self._open:
            if not os.path.isfile(self.case_path(name)):  # False for a name that is too long
                raise InputError(
                    f"has no case {name!r}", where=self.path, remedy="`flarekit store info` lists the cases."
                )
            self._open[name] = StoredCase(self.case_path(name))
        self._open.move_to_end(name)
        while len(self._open) > _MAX_OPEN_CASES:
            self._open.popitem(last=False)[1].close()
        return self._open[name]


def _organs(labels: LabelSet) -> str:
    return ", ".join(f"{number} {name}" for number, name in zip(labels.ids, labels.names, strict=True))
