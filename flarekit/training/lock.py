"""A run is trained by one process, or by one group of processes, at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from flarekit.errors import TrainingError
from flarekit.lock import held


def only_process(lock: Path) -> AbstractContextManager[None]:
    """Holds the lock file within the block. Raises TrainingError that names the process which holds it already."""
    return held(lock, "training this run", TrainingError)
