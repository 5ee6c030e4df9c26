"""Runs a command as a process of its own, and samples what it takes every tenth of a second from its start to its end.

As FLARE22's organisers do (Efficiency.py of JunMa11/FLARE), with three differences. CPU and RAM are those of the
process and its descendants, which other work on the machine does not change; the whole machine's CPU, which is what
they take, is sampled beside it. A sample stands for the time since the one before; they count 0.1 s for each, however
long it took. And they add 0.1 s to the denominator of every percentage, so that an idle machine of two cores counts as
a third busy.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO

import psutil

INTERVAL_S = 0.1
MB = 1 << 20
_LOOK_EVERY_S = 1.0  # for new descendants, among all processes of the machine
_PATIENCE_S = 20.0  # for a process that was asked to end


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was taken at one time."""

    time_s: float  # since the process was started
    span_s: float  # since the sample before, for which this one stands
    cpu_percent: float  # of the process and its descendants in that span; 100 is every core of the machine
    machine_percent: float  # the same of everything that runs
    ram_mb: float  # resident memory of the process and its descendants, shared pages counted for each of them
    gpu_mb: float | None  # memory of the card in use, by whomever; None where nothing tells


@dataclass(frozen=True, kw_only=True)
class SampledRun:
    """A process that has ended."""

    code: int  # its exit code; below 0 the signal that ended it
    elapsed_s: float  # from its start to its end
    samples: tuple[Sample, ...]  # the last one at its end
    gpu_before_mb: float | None  # in use before it was started
    sampling_share: float  # CPU time that the sampling took, of one core
    stdout: str
    stderr: str


def run_sampled(
    command: Sequence[str], gpu_mb: Callable[[], float] | None = None, *, interval_s: float = INTERVAL_S
) -> SampledRun:
    """Run the command to its end. `gpu_mb` tells the memory in use on its card.

    Where this process is interrupted, by SIGINT or SIGTERM, so is the command, and it is waited for. Raises OSError
    when it cannot be started, KeyboardInterrupt after an interruption.
    """
    before_mb = gpu_mb() if gpu_mb else None
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _interruptible():
        begin_s, own_s, reaped_s = time.perf_counter(), time.process_time(), _reaped_cpu_s()
        psutil.cpu_percent()  # of the whole machine, from now on
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        tree = _Tree(process.pid)  # before the process, which may have ended, is waited for
        ended = _end_of(process)
        try:
            samples = list(_samples(tree, ended, begin_s, gpu_mb, interval_s))
        finally:
            _interrupt(process, ended)
        elapsed_s = time.perf_counter() - begin_s
        samples.append(_last(samples, elapsed_s, _reaped_cpu_s() - reaped_s, before_mb))
        return SampledRun(
            code=process.returncode,
            elapsed_s=elapsed_s,
            samples=tuple(samples),
            gpu_before_mb=before_mb,
            sampling_share=(time.process_time() - own_s) / elapsed_s,
            stdout=_text(out),
            stderr=_text(err),
        )


class _Tree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self._processes = [psutil.Process(pid)]
        self._looked_s = float("-inf")

    def cpu_s_and_ram_mb(self) -> tuple[float, float]:
        """CPU time so far, that of ended descendants included, and resident memory."""
        now_s = time.perf_counter()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            with suppress(psutil.Error):
                self._processes[1:] = self._processes[0].children(recursive=True)
        cpu_s = ram_bytes = 0.0
        for process in self._processes:
            with suppress(psutil.Error):  # it has ended
                cpu_s += sum(process.cpu_times()[:4])  # user, system, and both of its ended children
                ram_bytes += process.memory_info().rss
        return cpu_s, ram_bytes / MB


def _samples(
    tree: _Tree, ended: threading.Event, begin_s: float, gpu_mb: Callable[[], float] | None, interval_s: float
) -> Iterator[Sample]:
    """A sample at every multiple of the interval since the beginning; those that come too late are left out."""
    cores, before_s, cpu_before_s = psutil.cpu_count() or 1, 0.0, 0.0
    while not ended.wait(interval_s - (time.perf_counter() - begin_s) % interval_s):
        cpu_s, ram_mb = tree.cpu_s_and_ram_mb()
        now_s = time.perf_counter() - begin_s
        span_s, used_s = now_s - before_s, max(0.0, cpu_s - cpu_before_s)
        yield Sample(
            time_s=now_s,
            span_s=span_s,
            cpu_percent=100 * used_s / span_s / cores,
            machine_percent=psutil.cpu_percent(),
            ram_mb=ram_mb,
            gpu_mb=gpu_mb() if gpu_mb else None,
        )
        before_s, cpu_before_s = now_s, cpu_before_s + used_s


def _last(samples: Sequence[Sample], elapsed_s: float, cpu_s: float, gpu_mb: float | None) -> Sample:
    """For the time since the last sample: the CPU time that the system counted and no sample has; memory as then."""
    cores = psutil.cpu_count() or 1
    counted_s = sum(s.cpu_percent / 100 * cores * s.span_s for s in samples)
    span_s = elapsed_s - (samples[-1].time_s if samples else 0.0)
    return Sample(
        time_s=elapsed_s,
        span_s=span_s,
        cpu_percent=100 * max(0.0, cpu_s - counted_s) / span_s / cores,
        machine_percent=psutil.cpu_percent(),
        ram_mb=samples[-1].ram_mb if samples else 0.0,
        gpu_mb=samples[-1].gpu_mb if samples else gpu_mb,
    )


def _end_of(process: subprocess.Popen[bytes]) -> threading.Event:
    """Set as soon as the process has ended."""
    ended = threading.Event()

    def wait() -> None:
        process.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def _interrupt(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    """End the process if it still runs: as Ctrl-C would, so that it tidies up; by force where it does not."""
    if ended.is_set():
        return
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
    if not ended.wait(_PATIENCE_S):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        ended.wait()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt within the block; off the main thread it does nothing.

    A shell starts what runs in the background with SIGINT ignored, and so would be what that starts in turn: a signal
    that is handled here is none that the process ignores.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reaped_cpu_s() -> float:
    """CPU time of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
