"""What this machine offers flarekit: devices, CPU, memory, versions, registry, folders."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

from flarekit import __version__
from flarekit.checkpoints import Registry
from flarekit.checkpoints.registry import home
from flarekit.training.cpu import is_fast_in_bf16

REQUIRED = ("torch", "timm", "numpy", "SimpleITK", "nibabel", "h5py", "hdf5plugin", "accelerate", "safetensors")
OPTIONAL = ("triton", "onnxruntime", "distributed", "highdicom")
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
GB = 1e9


def examine() -> dict[str, dict[str, Any]]:
    """Facts by topic, each a name and a value that JSON can hold."""
    return {
        "flarekit": {"version": __version__, "python": sys.version.split()[0], "system": platform.platform()},
        "device": _devices(),
        "cpu": _cpu(),
        "memory": _memory(),
        "packages": {name: _version(name) or "missing" for name in REQUIRED},
        "extras": {name: _version(name) or "not installed" for name in OPTIONAL},
        "registry": _registry(),
        "data": _data(),
    }


def _devices() -> dict[str, str]:
    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / GB:.1f} GB"
    if torch.backends.mps.is_available():
        found["mps"] = "available"
    return found


def _cpu() -> dict[str, str]:
    flags = _cpu_flags()
    return {
        "cores": f"{psutil.cpu_count(logical=False)} physical, {psutil.cpu_count()} logical",
        "vector flags": " ".join(flag for flag in CPU_FLAGS if flag in flags) or "unknown",
        "bfloat16": "fast: train --precision bf16 may be used" if is_fast_in_bf16() else "slow: refused by train",
    }


def _cpu_flags() -> set[str]:
    """The processor's flags as Linux lists them; empty where the system keeps no such list."""
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return set()
    lines = (line for line in listing.read_text().splitlines() if line.startswith("flags"))
    return set(next(lines, "").split())


def _memory() -> dict[str, str]:
    memory = psutil.virtual_memory()
    return {"total": f"{memory.total / GB:.1f} GB", "available": f"{memory.available / GB:.1f} GB"}


def _registry() -> dict[str, str]:
    root = Registry.default().root
    found = Registry.default().listing()
    names = [*(card.reference for card in found.cards), *(f"{name} (damaged)" for name in found.damaged)]
    return {"folder": str(root), "writable": _writable(root), "checkpoints": ", ".join(names) or "none"}


def _data() -> dict[str, str]:
    folder = os.environ.get("FLAREKIT_TEST_DATA")
    here = shutil.disk_usage(Path.cwd())
    return {
        "home": str(home()),
        "FLAREKIT_HOME": os.environ.get("FLAREKIT_HOME", "not set"),
        "FLAREKIT_TEST_DATA": folder or "not set: tests on real CTs are skipped",
        "free here": f"{here.free / GB:.1f} GB",
    }


def _writable(folder: Path) -> str:
    """Whether a folder that may not exist yet could be written to."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return "yes" if existing.is_dir() and os.access(existing, os.W_OK) else f"no: {existing} refuses"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
