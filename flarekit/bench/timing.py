"""How long something takes: the middle of several runs, as machines are shared and noisy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of several runs of one thing."""

    median_s: float
    fastest_s: float
    runs: int


def timed(work: Callable[[], object], *, runs: int = 5, warmup: int = 1, device: torch.device | str = "cpu") -> Timing:
    """The wall time of `work`, after `warmup` runs that do not count; a GPU's queue is waited for."""
    for _ in range(warmup):
        work()
    elapsed_s = [_once(work, torch.device(device)) for _ in range(runs)]
    return Timing(median_s=statistics.median(elapsed_s), fastest_s=min(elapsed_s), runs=runs)


def middle_per_s(work: Callable[[int], object], items: Sequence[int]) -> float:
    """How many items a second `work` does, by the middle one, which other work on the machine seldom interrupts."""
    return 1.0 / statistics.median(_once(partial(work, item), torch.device("cpu")) for item in items)


def _once(work: Callable[[], object], device: torch.device) -> float:
    wait_for(device)
    begin = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - begin


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
