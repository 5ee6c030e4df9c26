"""Devices by name."""

from __future__ import annotations

import torch

from flarekit.errors import MissingDependency, UsageError


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` takes a GPU if there is one. Raises MissingDependency or UsageError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", remedy="Use auto, cpu, cuda, cuda:N or mps.") from error
    present = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": (device.index or 0) < torch.cuda.device_count(),
    }
    if not present.get(device.type, False):
        raise MissingDependency(f"this machine has no device {name!r}", remedy="Use --device cpu.")
    return device


def device_for(backend: str, name: str) -> torch.device:
    """`resolve_device`, but `auto` is the CPU where the backend runs nowhere else. Raises what that does."""
    return resolve_device("cpu" if (backend, name) == ("onnx", "auto") else name)
