"""Work in pieces: steps that are done once, within a budget of time, and what is left of them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scores import row

from flarekit.errors import UsageError
from flarekit.files import output_errors, write_json

STOP_S = 30  # a training that is asked to stop ends its iteration, or its validation, and writes its state


class OutOfTime(Exception):
    """The budget of this call is spent; what was done is kept."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A piece of the work. What it has finished is not done again."""

    name: str
    minutes: float  # it is expected to take on the machine that the recipe is for
    work: Callable[[], None]
    networks: tuple[str, ...] = ()  # it makes or scores these; none: whatever is made needs it


class Clock:
    """How much of this call's budget is left."""

    def __init__(self, budget_s: float | None) -> None:
        self.ends_s = None if budget_s is None else time.monotonic() + budget_s

    @property
    def left_s(self) -> float | None:
        """None without a budget."""
        return None if self.ends_s is None else self.ends_s - time.monotonic()

    def require_time(self) -> None:
        """Raises OutOfTime where nothing more can be done."""
        if self.left_s is not None and self.left_s <= STOP_S:
            raise OutOfTime

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within it this process gets SIGINT when the budget ends, early enough for a training to write its state.

        Raises OutOfTime for the KeyboardInterrupt that comes of it.
        """
        if self.left_s is None:
            yield
            return
        self.require_time()
        timer = threading.Timer(max(self.left_s - STOP_S, 0), os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `... &` has it ignored
        try:
            timer.start()
            yield
        except KeyboardInterrupt:
            if self.left_s <= STOP_S:
                raise OutOfTime from None
            raise
        finally:
            timer.cancel()
            signal.signal(signal.SIGINT, before)


class Ledger:
    """Which steps are done, and how long they took: a file each, so that two processes can keep it together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self, step: Step) -> bool:
        """Whether the step is finished, by this process or another."""
        return self._entry(step).get("done", False)

    def add(self, step: Step, elapsed_s: float, *, done: bool) -> None:
        """Count time that went into a step."""
        before = self._entry(step).get("seconds", 0.0)
        entry = {"seconds": round(before + elapsed_s, 1), "done": done}
        write_json(self.folder / f"{step.name}.json", entry, overwrite=True)

    @contextmanager
    def held(self, step: Step) -> Iterator[None]:
        """Within it no other process does the step. Raises UsageError where one does already."""
        lock = self.folder / f"{step.name}.lock"
        with output_errors(lock):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = lock.open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"another process is at {step.name} of this --out",
                    remedy="Go on when it has finished. Different networks can be trained at one time: --only.",
                ) from error
            yield

    def plan(self, steps: Sequence[Step]) -> str:
        """Every step with the minutes it is expected to take and those it took."""
        rows = [row("step", "expected, min", "taken, min", "done"), row(*["---"] * 4)]
        for step in steps:
            taken = self._entry(step).get("seconds", 0.0) / 60
            state = "yes" if self.done(step) else "begun" if taken else "no"
            rows.append(row(step.name, f"{step.minutes:.1f}", f"{taken:.1f}", state))
        left = sum(step.minutes for step in steps if not self.done(step))
        return "\n".join(
            [*rows, "", f"Expected of what is left: {left / 60:.1f} h on the machine that the recipe is for."]
        )

    def _entry(self, step: Step) -> dict[str, Any]:
        path = self.folder / f"{step.name}.json"
        return json.loads(path.read_text()) if path.is_file() else {}


def run(steps: Sequence[Step], ledger: Ledger, clock: Clock) -> bool:
    """Do the steps that are not done; whether all are. Raises UsageError where another process is at one of them."""
    for step in steps:
        if ledger.done(step):
            continue
        with ledger.held(step):
            if not ledger.done(step) and not _do(step, ledger, clock):
                return False
    return True


def _do(step: Step, ledger: Ledger, clock: Clock) -> bool:
    """Whether there was time to finish the step. The time that it took counts, finished or not."""
    started, done = time.monotonic(), False
    try:
        clock.require_time()
        print(f"{step.name} ...", flush=True)
        step.work()
        done = True
    except OutOfTime:
        pass
    finally:
        ledger.add(step, time.monotonic() - started, done=done)
    return done
