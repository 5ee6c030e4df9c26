"""A folder is worked on by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flarekit.errors import FlarekitError
from flarekit.files import output_errors

_NAMED = re.compile(r"\d+ on \S*")  # a process and its machine: a disk may be shared
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # some network file systems


@contextmanager
def held(lock: Path, doing: str, error: type[FlarekitError]) -> Iterator[None]:
    """Holds the lock file within the block. Raises `error` that says which process, on which machine, is
    `doing` so.

    The lock belongs to this process: it ends with it, however it ends, and worker processes do not inherit it. Where
    the file system knows no locks, nothing is held. Raises OutputError where the file cannot be written.
    """
    with output_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab", buffering=0)
    with file:
        _lock(file.fileno(), lock, doing, error)
        with output_errors(lock):
            file.truncate(0)
            file.write(f"{os.getpid()} on {platform.node()}\n".encode())
        yield


def _lock(descriptor: int, lock: Path, doing: str, error: type[FlarekitError]) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as refused:
        written = lock.read_text(encoding="ascii", errors="replace").strip()
        who = f"process {written}" if _NAMED.fullmatch(written) else "another process"  # which has not written it yet
        raise error(f"{who} is {doing}", where=lock.parent, remedy="Let it finish, or stop it first.") from refused
    except OSError as refused:
        if refused.errno not in _NO_LOCKS:
            raise
