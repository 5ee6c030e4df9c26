"""Weights of several networks in one safetensors file, each under its network's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from flarekit.errors import CheckpointError
from flarekit.files import atomic_path

SUFFIX = ".safetensors"  # of files that hold weights


def write_weights(path: Path, networks: Mapping[str, nn.Module], *, half: bool, overwrite: bool = False) -> None:
    """Write every network's state; `half` stores floating point as float16. Raises OutputError."""
    tensors = {
        f"{name}.{key}": _stored(tensor, half)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors))  # its own writer does not raise OSError


def read_weights(path: Path, networks: Mapping[str, nn.Module]) -> None:
    """Fill the networks, strictly: every tensor is used and none is missing. Raises CheckpointError."""
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    if foreign := sorted(key for key in tensors if key.partition(".")[0] not in networks):
        raise _damaged(path, f"it holds {foreign[0]}")
    for name, network in networks.items():
        prefix = f"{name}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise _damaged(path, f"{name}: {str(error).splitlines()[0]}") from error


def _stored(tensor: Tensor, half: bool) -> Tensor:
    dtype = torch.float16 if half and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype).contiguous()


def _damaged(path: Path, why: object) -> CheckpointError:
    return CheckpointError(
        f"does not hold the weights its card describes ({why})", where=path, remedy="Import the checkpoint again."
    )
