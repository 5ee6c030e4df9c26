"""Cases in processes of this machine, of which any may die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from flarekit.parallel.lost import Lost

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Collection[Item], workers: int
) -> Iterator[tuple[Item, Result | Lost]]:
    """Each item with its result, as `run_cases` says, from so many processes."""
    waiting = iter(items)
    while suspects := (yield from _until_one_dies(work, waiting, workers)):
        for item in suspects:
            died = yield from _until_one_dies(work, iter([item]), 1)
            yield from ((lost, _died_twice()) for lost in died)


def _until_one_dies(
    work: Callable[[Item], Result], waiting: Iterator[Item], workers: int
) -> Generator[tuple[Item, Result], None, list[Item]]:
    """Yields results until nothing waits or a process dies; returns the items that were running then, if any."""
    running: dict[Future[Result], Item] = {}
    suspects: list[Item] = []
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_follow_parent) as pool:
        while True:
            for item in islice(waiting, 0 if suspects else workers - len(running)):
                running[_submitted(pool, work, item)] = item
            if not running:
                return suspects
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for job in done:
                item = running.pop(job)
                if isinstance(job.exception(), BrokenProcessPool):
                    suspects.append(item)
                else:
                    yield item, job.result()


def _submitted(pool: ProcessPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    """The item's job; one that failed where the pool has broken already."""
    try:
        return pool.submit(work, item)
    except BrokenProcessPool as error:
        job: Future[Result] = Future()
        job.set_exception(error)
        return job


def _died_twice() -> Lost:
    return Lost(reason="its worker process died, most likely for want of memory. Run again with fewer --workers.")


def _follow_parent() -> None:
    """In a worker process: end without a traceback at Ctrl-C, and when the parent is gone, were it killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
