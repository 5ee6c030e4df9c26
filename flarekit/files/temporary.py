"""Temporary files and folders beside their target, and what is left of them where their writer was killed."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flarekit.errors import OutputError
from flarekit.files.refusals import output_errors

_PREFIX = ".tmp-"
_OLD_S = 24 * 3600.0  # a temporary file of this age is nobody's, where the file system knows no locks


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """A new, empty file in `target`'s folder, locked for as long as the block runs, removed unless renamed."""
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _locked_file(target)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers were killed; those of living ones stay."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # a folder, removed already, or not ours
            _remove_unless_written(path)


def _locked_file(target: Path) -> tuple[int, Path]:
    """The lock ends with the process, however that ends, so that a leftover is told from a file being written."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=target.name[-80:].lower(), dir=target.parent)
        with suppress(OSError):  # no locks on this file system: age decides
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # taken for a leftover before it was locked


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


def _remove_unless_written(path: Path) -> None:
    with _unless_written(path, os.O_RDWR) as is_left:
        if is_left:
            path.unlink()


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


def _lockable(descriptor: int, *, otherwise: bool) -> bool:
    """Whether nobody else holds the lock; `otherwise` where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


@contextmanager
def _errors_speak_of(becomes: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except OutputError as error:
        if not isinstance(error.where, Path) or not error.where.is_relative_to(temporary):
            raise
        where = becomes / error.where.relative_to(temporary)
        raise OutputError(error.what, where=where, remedy=error.remedy) from error
