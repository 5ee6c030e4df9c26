"""How much memory something takes: measured in a process of its own, whose peak nothing else has raised."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

Argument = TypeVar("Argument")

_STATUS = Path("/proc/self/status")


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
