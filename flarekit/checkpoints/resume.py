"""The state a killed training run goes on from."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from flarekit.errors import CheckpointError
from flarekit.files import atomic_path


def save_state(path: Path, state: dict[str, Any], *, overwrite: bool = True) -> None:
    """Write or replace the state file, whole or not at all: tensors, numbers, strings, lists and dictionaries.

    Raises OutputError when it cannot be written, the disk is full, or it exists without `overwrite`.
    """
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what torch makes of a write that failed
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU; no code in the file is run. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise _damaged(path, "it is cut short or of another kind")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    if not isinstance(state, dict):
        raise _damaged(path, f"it holds a {type(state).__name__}")
    return state


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"is not a training state ({why})", where=path, remedy="Start the run anew under another name."
    )
