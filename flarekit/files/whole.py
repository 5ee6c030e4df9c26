"""Files appear whole or not at all: written under a temporary name beside the target, flushed, renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flarekit.files.refusals import output_errors, refuse_existing
from flarekit.files.temporary import folder_beside, temporary_beside


@contextmanager
def atomic_path(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path in `target`'s folder, renamed to `target` when the block ends well.

    The temporary name keeps the target's suffixes, in lower case, as writers choose their format by them.
    Raises OutputError when the target exists (without `overwrite`), its folder cannot be written to,
    or the disk is full; the temporary file is removed in every case.
    """
    refuse_existing(target, overwrite=overwrite)
    with temporary_beside(target) as temporary, output_errors(target):
        yield temporary
        _settle(temporary)
        os.replace(temporary, target)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, renamed to `target` when the block ends well.

    Raises OutputError when the target exists or cannot be written.
    """
    refuse_existing(target)
    with folder_beside(target, becomes=target) as temporary, output_errors(target):
        yield temporary
        for file in temporary.iterdir():
            _flush(file)
        os.chmod(temporary, 0o777 & ~_umask())
        os.replace(temporary, target)


def write_text(target: Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` as UTF-8, whole or not at all. Raises OutputError."""
    with atomic_path(target, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, data: object, *, overwrite: bool = False) -> None:
    """Write `data` as indented JSON, whole or not at all. Raises OutputError."""
    write_text(target, _json(data), overwrite=overwrite)


def write_json_once(target: Path, data: object) -> None:
    """Write `data` as indented JSON unless `target` is there: of several processes at once, the first one writes.

    Raises OutputError.
    """
    with temporary_beside(target) as temporary, output_errors(target), suppress(FileExistsError):
        temporary.write_text(_json(data), encoding="utf-8")
        _settle(temporary)
        _rename_to_new(temporary, target)


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Raises FileExistsError when `target` is there; without hard links a later one may win, each of them whole."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if not os.path.lexists(target):
            os.replace(temporary, target)


def _settle(temporary: Path) -> None:
    """On disk, and readable for whom a new file would be."""
    _flush(temporary)
    os.chmod(temporary, 0o666 & ~_umask())


def _flush(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
