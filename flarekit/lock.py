"""A folder is worked on by one process at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flarekit.errors import FlarekitError
from flarekit.files import output_errors

try:
    import fcntl
except ImportError:  # Windows has no record locks
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # some network file systems


@contextmanager
def held(lock: Path, doing: str, error: type[FlarekitError]) -> Iterator[None]:
    """Holds the lock file within the block. Raises `error` that names the process which is `doing` so already.

    The lock belongs to this process: it ends with it, however it ends, and worker processes do not inherit it. Where
    the file system knows no locks, nothing is held. Raises OutputError where the file cannot be written.
    """
    with output_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+", encoding="utf-8")
    with file:
        if fcntl is not None:
            _lock(file.fileno(), lock, doing, error)
        os.truncate(file.fileno(), 0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _lock(descriptor: int, lock: Path, doing: str, error: type[FlarekitError]) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as refused:
        raise error(
            f"process {lock.read_text(encoding='utf-8').strip()} is {doing}",
            where=lock.parent,
            remedy="Let it finish, or stop it first.",
        ) from refused
    except OSError as refused:
        if refused.errno not in _NO_LOCKS:
            raise
