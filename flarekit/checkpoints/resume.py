"""The state a killed training run goes on from."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from flarekit.errors import CheckpointError
from flarekit.files import atomic_path


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the state file, whole or not at all: tensors, numbers, strings, lists and dictionaries."""
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU; no code in the file is run. Raises CheckpointError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"is not a training state ({str(error).splitlines()[0]})",
            where=path,
            remedy="Start the run anew under another name.",
        ) from error
