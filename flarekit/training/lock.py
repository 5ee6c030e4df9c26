"""A run is trained by one process, or by one group of processes, at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flarekit.errors import TrainingError
from flarekit.files import output_errors

try:
    import fcntl
except ImportError:  # Windows has no record locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_process(lock: Path) -> Iterator[None]:
    """Holds the lock file within the block. Raises TrainingError that names the process which holds it already.

    The lock belongs to this process: it ends with it, however it ends, and loader workers do not inherit it.
    """
    with output_errors(lock):
        file = lock.open("a+", encoding="utf-8")
    with file:
        if fcntl is not None:
            _lock(file.fileno(), lock)
        os.truncate(file.fileno(), 0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _lock(descriptor: int, lock: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise TrainingError(
            f"process {lock.read_text(encoding='utf-8').strip()} is training this run",
            where=lock.parent,
            remedy="Let it finish, or stop it first.",
        ) from error
