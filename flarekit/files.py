"""Files appear whole or not at all: written under a temporary name beside the target, flushed, renamed."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flarekit.errors import OutputError

_CHUNK_BYTES = 1 << 20
_PREFIX = ".tmp-"
_OLD_S = 24 * 3600.0  # a temporary file of this age is nobody's, where the file system knows no locks


@contextmanager
def atomic_path(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path in `target`'s folder, renamed to `target` when the block ends well.

    The temporary name keeps the target's suffixes, in lower case, as writers choose their format by them.
    Raises OutputError when the target exists (without `overwrite`), its folder cannot be written to,
    or the disk is full; the temporary file is removed in every case.
    """
    refuse_existing(target, overwrite=overwrite)
    with _temporary_beside(target) as temporary, output_errors(target):
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


@contextmanager
def folder_beside(target: Path, *, becomes: Path) -> Iterator[Path]:
    """A new, empty folder in `target`'s folder, removed when the block ends with whatever is left in it.

    Those that killed processes left there for the same target are removed first. An OutputError about a file in it
    speaks of the same file in the folder that it `becomes`. Raises OutputError.
    """
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_folders(target)
        descriptor, temporary = _locked_folder(target)
    try:
        with _errors_speak_of(becomes, temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


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
    with _temporary_beside(target) as temporary, output_errors(target), suppress(FileExistsError):
        temporary.write_text(_json(data), encoding="utf-8")
        _settle(temporary)
        _rename_to_new(temporary, target)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers were killed; those of living ones stay."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # a folder, removed already, or not ours
            _remove_unless_written(path)


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
    """The SHA-256 of a file's bytes, or of a folder's files whatever their names, as 64 hexadecimal digits."""
    if path.is_dir():
        digests = sorted(sha256(file) for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    """A new, empty file in `target`'s folder, locked for as long as the block runs, removed unless renamed."""
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _locked_file(target)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _locked_file(target: Path) -> tuple[int, Path]:
    """The lock ends with the process, however that ends, so that a leftover is told from a file being written."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=target.name[-80:].lower(), dir=target.parent)
        with suppress(OSError):  # no locks on this file system: age decides
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # taken for a leftover before it was locked


def _remove_unless_written(path: Path) -> None:
    with _unless_written(path, os.O_RDWR) as is_left:
        if is_left:
            path.unlink()


def _locked_folder(target: Path) -> tuple[int, Path]:
    """As `_locked_file`, with a name that says which target it is for."""
    while True:
        name = tempfile.mkdtemp(prefix=_PREFIX, suffix=_for_target(target), dir=target.parent)
        with suppress(FileNotFoundError):  # taken for a leftover before it was opened
            descriptor = os.open(name, os.O_RDONLY)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.exists(name):
                return descriptor, Path(name)
            os.close(descriptor)


def _remove_left_folders(target: Path) -> None:
    for path in target.parent.glob(f"{_PREFIX}????????{glob.escape(_for_target(target))}"):
        with suppress(OSError), _unless_written(path, os.O_RDONLY | os.O_DIRECTORY) as is_left:
            if is_left:
                shutil.rmtree(path, ignore_errors=True)


def _for_target(target: Path) -> str:
    return f"-{target.name[-50:]}"


@contextmanager
def _unless_written(path: Path, mode: int) -> Iterator[bool]:
    """Whether nobody writes to what is there; nobody begins to within the block."""
    descriptor = os.open(path, mode)
    try:
        yield _lockable(descriptor, otherwise=time.time() - path.stat().st_mtime > _OLD_S)
    finally:
        os.close(descriptor)


@contextmanager
def _errors_speak_of(becomes: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except OutputError as error:
        if not isinstance(error.where, Path) or not error.where.is_relative_to(temporary):
            raise
        where = becomes / error.where.relative_to(temporary)
        raise OutputError(error.what, where=where, remedy=error.remedy) from error


def _lockable(descriptor: int, *, otherwise: bool) -> bool:
    """Whether nobody else holds the lock; `otherwise` where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Raises FileExistsError when `target` is there; without hard links a later one may win, each of them whole."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if not _exists(target):
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
