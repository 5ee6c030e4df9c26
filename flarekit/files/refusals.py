"""What the operating system refuses, told before long work or as it happens: which file, and what to do."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flarekit.errors import InputError, OutputError

_BESIDE_MASKS = ("flarekit-segmentation", "flarekit-propagation", "flarekit-label-names", "flarekit-unfinished")


def require_existing(path: Path) -> None:
    """Raises InputError when nothing is there under this name, as where no file can be called so."""
    if not os.path.exists(path):  # unlike Path.exists, False for a name that is too long
        raise InputError("does not exist", where=path, remedy="Check the path.")


@contextmanager
def input_errors(path: Path, *, remedy: str = "Check the path.") -> Iterator[None]:
    """Turns the operating system's refusals while reading `path` into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path, remedy=remedy) from error


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


def refuse_foreign_json(target: Path) -> None:
    """Raises OutputError when `target` is a file, and none of a mask of flarekit's: no option replaces that.

    Converters put what a CT's headers say (BIDS) where flarekit's JSON goes: beside the image, under its name.
    """
    if target.is_file() and _format(target) not in _BESIDE_MASKS:
        raise OutputError(
            "is there and is no JSON of flarekit's masks",
            where=target,
            remedy="Choose another name for the output: --overwrite replaces what flarekit wrote.",
        )


def require_writable(target: Path) -> None:
    """Raises OutputError when no file can be made at `target`, as where a folder is: to be called before long work."""
    with output_errors(target):
        is_folder = _exists(target) and stat.S_ISDIR(target.lstat().st_mode)
    if is_folder:
        raise OutputError("is a folder", where=target, remedy="Choose another name.")
    with output_errors(target):
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


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _format(path: Path) -> str | None:
    with input_errors(path):
        content = path.read_bytes()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return str(found.get("format")) if isinstance(found, dict) else None
