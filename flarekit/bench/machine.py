"""What a figure was measured on: a time without its machine says nothing."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def machine(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """Device, CPU threads and versions, as every benchmark prints them beside its figures."""
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _cpu_name() -> str:
    """The processor as Linux names it; elsewhere what Python knows of it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
