"""A real scheduler with real worker processes on the loopback, whose processes a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where it answers, and what it runs in."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


@contextmanager
def dask_cluster(
    folder: Path, *, workers: int = 2, nanny: bool = False, allowed_failures: int = 3
) -> Iterator[Cluster]:
    """A cluster whose workers can import the tests' modules."""
    environment = os.environ | {
        "PYTHONPATH": os.path.dirname(__file__),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures),
    }

    def start(program: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *map(str, arguments), "--no-dashboard"]
        with (folder / f"{program}.log").open("a") as log:
            return subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)

    found = folder / "scheduler.json"
    scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", 0, "--scheduler-file", found)
    kept_by = "--nanny" if nanny else "--no-nanny"
    started: list[subprocess.Popen] = []
    try:
        address = _address(found)
        started += [start("dask_worker", address, "--nthreads", 1, kept_by) for _ in range(workers)]
        yield Cluster(address=address, scheduler=scheduler, workers=started)
    finally:
        for process in (*started, scheduler):
            process.terminate() if nanny else process.kill()
            process.wait(timeout=30)


def _address(found: Path) -> str:
    for _ in range(300):
        if found.exists() and found.stat().st_size:
            return json.loads(found.read_text())["address"]
        time.sleep(0.1)
    raise TimeoutError("the scheduler did not start within 30 s")
