"""How much memory of an NVIDIA card is in use, by everything that runs on it, as the driver tells.

NVML, the library behind nvidia-smi, comes with the driver and is asked directly: that takes microseconds, while
starting nvidia-smi takes longer than the time between two samples, and asking through CUDA puts a context of some
hundred MB on the card that is being measured.

Source: NVML API reference (nvml.h): nvmlInit_v2, nvmlDeviceGetHandleByUUID, nvmlDeviceGetMemoryInfo.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from flarekit.bench.machine import machine

MB = 1 << 20  # as nvidia-smi and the challenge count
_LIBRARY = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Card:
    """A card whose memory can be asked for again and again."""

    def __init__(self, library: Any, uuid: str) -> None:
        """`library` is NVML, `uuid` the card's as nvidia-smi -L lists it. Raises OSError where NVML refuses."""
        self._library, self._handle = library, ctypes.c_void_p()
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self._handle))
        self.used_mb()

    def used_mb(self) -> float:
        """All that is not free, in MB of 2^20 bytes, as the challenge takes it. Raises OSError."""
        memory = _Memory()
        self._call("nvmlDeviceGetMemoryInfo", self._handle, ctypes.byref(memory))
        return (memory.total - memory.free) / MB

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._library, name)(*arguments):
            raise OSError(f"{name} gives error {code}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a benchmark's processes run, found without touching the card from this one."""

    machine: dict[str, str | int]  # as every benchmark prints it
    card: Card | None  # whose memory can be told
    no_card: str  # why there is none, "" where there is


def place_of(device: torch.device) -> Place:
    """The machine with this device on it, and the card that the device is."""
    if device.type != "cuda":
        where = "the CPU" if device.type == "cpu" else device.type
        return Place(machine=machine(device), card=None, no_card=f"segmented on {where}, not on an NVIDIA card")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # whose CUDA context ends with it
        on, uuid = pool.submit(_machine_and_uuid, str(device)).result()
    try:
        return Place(machine=on, card=Card(ctypes.CDLL(_LIBRARY), uuid), no_card="")
    except OSError as error:
        return Place(machine=on, card=None, no_card=f"the driver's {_LIBRARY} does not tell ({error})")


def _machine_and_uuid(device: str) -> tuple[dict[str, str | int], str]:
    uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    return machine(device), f"GPU-{uuid.removeprefix('GPU-')}"
