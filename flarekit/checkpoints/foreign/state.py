"""Tensors by name from a file of another project: PyTorch's own format without its pickled code, or safetensors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from flarekit.errors import CheckpointError
from flarekit.files import input_errors

# What training scripts put a network's state under, beside the optimiser's and others'.
NESTED = ("state_dict", "model_state_dict", "model", "network", "net")
WRAPPERS = ("module.", "_orig_mod.")  # that DataParallel and torch.compile put before every name


def read_state(path: Path) -> dict[str, Tensor]:
    """A network's tensors, float32 where they are floating point, without the prefixes of wrappers.

    Code in a pickle is never run. Raises InputError when the file cannot be read, CheckpointError when it is
    damaged, holds more than tensors, or no network.
    """
    loaded = _read(path)
    state = next((loaded[key] for key in NESTED if isinstance(loaded.get(key), Mapping)), loaded)
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise _refused(path, "it holds no tensors by name")
    return {
        _unwrapped(key): tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
    }


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with input_errors(path):
            if path.suffix == ".safetensors":
                return safetensors.torch.load_file(path)
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, _why_not_unpickled(error)) from error
    except (RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise _refused(path, "it is cut short or of another kind") from error
    if not isinstance(loaded, Mapping):
        raise _refused(path, f"it holds a {type(loaded).__name__}, not tensors by name")
    return loaded


def _why_not_unpickled(error: pickle.UnpicklingError) -> str:
    if "Unsupported global" in str(error) or "GLOBAL" in str(error):
        return "it holds Python objects beside tensors, and such code is never run"
    return "it is cut short or of another kind"


def _unwrapped(key: str) -> str:
    for prefix in WRAPPERS:
        key = key.removeprefix(prefix)
    return key


def _refused(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"is not a file of weights ({why})",
        where=path,
        remedy="Save the state dict alone, torch.save(network.state_dict(), FILE), or download the file again.",
    )
