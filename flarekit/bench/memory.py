"""How much memory something takes: in a process of its own, whose peak nothing else has raised, or in this one."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Argument = TypeVar("Argument")

_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = Path("/proc/self/clear_refs")


def peak_memory_bytes(work: Callable[[Argument], object], argument: Argument) -> int | None:
    """By how much the peak of resident memory grows while `work(argument)` runs, libraries imported before.

    `work` is called by its name in a new process, so it has to be a function of a module. None where the system
    does not say (it is read from Linux's /proc).
    """
    if not _STATUS.is_file():
        return None
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth_of_peak, work, argument).result()


def _growth_of_peak(work: Callable[[Argument], object], argument: Argument) -> int:
    before = _status_bytes("VmRSS")
    work(argument)
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def extra_memory_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int | None:
    """By how much memory grows at its peak while `work` runs: the GPU's as torch counts it, else resident memory.

    Resident memory is told by Linux alone, None elsewhere. What the allocator keeps of earlier work is given back
    before, so that it does not hide what this work needs.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    if not (_CLEAR_PEAK.exists() and _STATUS.is_file()):
        return None
    _give_back_freed_memory()
    _CLEAR_PEAK.write_text("5")  # Linux: the peak of resident memory starts anew
    return _growth_of_peak(lambda _: work(), None)


def _give_back_freed_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries keep little
    if trim is not None:
        trim(0)
