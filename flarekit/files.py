"""Files appear whole or not at all: written under a temporary name beside the target, flushed, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flarekit.errors import OutputError

_CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_path(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path in `target`'s folder, renamed to `target` when the block ends well.

    The temporary name keeps the target's suffixes, in lower case, as writers choose their format by them.
    Raises OutputError when the target exists (without `overwrite`), its folder cannot be written to,
    or the disk is full; the temporary file is removed in every case.
    """
    refuse_existing(target, overwrite=overwrite)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".tmp-", suffix=target.name[-80:].lower(), dir=target.parent)
        os.close(descriptor)
    temporary = Path(name)
    try:
        with output_errors(target):
            yield temporary
            _flush(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, renamed to `target` when the block ends well.

    Raises OutputError when the target exists or cannot be written.
    """
    refuse_existing(target)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
    try:
        with output_errors(target):
            yield temporary
            for file in temporary.iterdir():
                _flush(file)
            os.chmod(temporary, 0o777 & ~_umask())
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(target: Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` as UTF-8, whole or not at all. Raises OutputError."""
    with atomic_path(target, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, data: object, *, overwrite: bool = False) -> None:
    """Write `data` as indented JSON, whole or not at all. Raises OutputError."""
    write_text(target, json.dumps(data, indent=2, ensure_ascii=False) + "\n", overwrite=overwrite)


def refuse_existing(target: Path, *, overwrite: bool = False) -> None:
    """Raises OutputError when `target` exists (a broken link does) and may not be replaced, or cannot exist.

    To be called before long work.
    """
    with output_errors(target):
        exists = _exists(target)
    if exists and not overwrite:
        raise OutputError("exists already", where=target, remedy="Pass --overwrite or choose another name.")


def refuse_input(target: Path, *inputs: Path) -> None:
    """Raises OutputError when `target` is one of the files that are read: no option replaces these."""
    for path in inputs:
        if os.path.exists(path) and os.path.exists(target) and target.samefile(path):
            raise OutputError("is read and cannot be written too", where=target, remedy="Choose another name.")


def require_writable(target: Path) -> None:
    """Raises OutputError when no file can be made at `target`: to be called before long work."""
    with output_errors(target):
        _exists(target)
        folder = next(parent for parent in target.absolute().parents if _exists(parent))
    with output_errors(target), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turns the operating system's refusals while writing `target` into OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                "no space left to write it", where=target, remedy="Free some disk space and run again."
            ) from error
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=target,
            remedy="Check that its folder exists, is a folder, and may be written to.",
        ) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _flush(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
