"""Cases worked on one after the other, in processes of this machine, or over a cluster: one loop for every command."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flarekit.errors import MissingDependency, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT_S = 5.0  # a scheduler answers within milliseconds, once it has started
_LONGEST_GREETING_BYTES = 1 << 20  # it takes some hundreds; text, taken for a number, is far beyond
_PATIENCE_S = 30.0  # with no result for so long, look whether the cluster still has workers
_RESTART_S = 60.0  # a worker that a nanny starts anew is back in seconds


@dataclass(frozen=True, kw_only=True)
class Lost:
    """In place of a case's result: whatever process works on it dies."""

    reason: str  # what happened and what to do, one line


def run_cases(
    work: Callable[[Item], Result], items: Collection[Item], *, workers: int = 0, scheduler: str | None = None
) -> Iterator[tuple[Item, Result | Lost]]:
    """Each item with what `work` makes of it, as it is ready: inline in their order, elsewhere in any.

    With `workers` so many processes of this machine work, each on one case; with `scheduler`, an address such as
    tcp://host:8786, the workers of a dask.distributed cluster. `work` and the items are pickled. Cases are handed
    out as workers come free, so that no more are in memory than there are workers. When a process dies, as those
    do that run out of memory, the cases that were running are each tried once more, alone; one that dies again is
    `Lost`. What `work` raises is raised here and ends the run; a worker process ends with this one, however it ends.
    Raises MissingDependency without dask.distributed or when no scheduler or no worker answers, UsageError for an
    address that cannot be understood.
    """
    if scheduler is not None:
        yield from _over_cluster(work, items, scheduler)
    elif workers > 0:
        yield from _in_processes(work, items, min(workers, max(1, len(items))))
    else:
        yield from ((item, work(item)) for item in items)


def _in_processes(
    work: Callable[[Item], Result], items: Collection[Item], workers: int
) -> Iterator[tuple[Item, Result | Lost]]:
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


def _over_cluster(
    work: Callable[[Item], Result], items: Collection[Item], address: str
) -> Iterator[tuple[Item, Result | Lost]]:
    waiting, running = iter(items), dict[Future[Result], Item]()
    with _connected(address) as client, _executor(client) as executor:
        _require_workers(client, address)
        while True:
            for item in islice(waiting, max(0, _room(client, address) - len(running))):
                running[executor.submit(work, item)] = item
            if not running:
                return
            done, _ = wait(running, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
            if not done:
                _room(client, address)  # raises where the scheduler is silent, for which the next would wait for ever
                _require_workers(client, address)
            for job in done:
                item, result = running.pop(job), _cluster_result(job, address)
                yield item, result


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependency(
            "--scheduler needs dask.distributed", remedy="Install flarekit[distributed], or work with --workers."
        ) from error
    _require_scheduler(address)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it would log is raised below
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:
        raise _no_answer(address) from error
    with client:
        yield client


def _require_scheduler(address: str) -> None:
    """Raises unless a scheduler listens there: a Client that finds none, or something else, waits for minutes."""
    scheme, host, port = _parts(address)
    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_S) as connection:
                greeted = scheme == "tls" or _greets(connection)  # TLS waits for the client to speak first
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise _no_answer(address) from error
        time.sleep(0.1)
    if not greeted:
        raise MissingDependency(
            "something else than a scheduler answers",
            where=address,
            remedy="Give the scheduler's own port, 8786 unless it was told another; its dashboard's is no use here.",
        )


def _parts(address: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises UsageError."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not address.startswith(("tcp://", "tls://")) or host is None or port is None:
        raise UsageError(f"{address!r} is not the address of a scheduler", remedy="Write it as tcp://host:8786.")
    return parts.scheme, host, port


def _greets(connection: socket.socket) -> bool:
    """Whether the other end opens with the length of a short message, as every process of dask.distributed does.

    Raises TimeoutError where it says nothing.
    """
    length = connection.recv(8, socket.MSG_WAITALL)
    return len(length) == 8 and int.from_bytes(length, "little") < _LONGEST_GREETING_BYTES


@contextmanager
def _executor(client: Any) -> Iterator[Any]:
    """The cluster behind the interface of concurrent.futures; what still runs at the end is cancelled."""
    executor = client.get_executor(pure=False)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False)


def _room(client: Any, address: str) -> int:
    """How many cases the cluster may hold: what it works on, and as many on their way. At least one."""
    try:
        return max(1, 2 * sum(client.nthreads(callback_timeout=_PATIENCE_S).values()))
    except OSError as error:
        raise _no_answer(address) from error


def _require_workers(client: Any, address: str) -> None:
    """Raises MissingDependency unless a worker is there, or comes within a minute."""
    try:
        client.wait_for_workers(1, timeout=_RESTART_S)
    except TimeoutError as error:
        raise MissingDependency(
            "the scheduler has no worker",
            where=address,
            remedy=f"Start some: dask worker {address} --nthreads 1",
        ) from error
    except OSError as error:
        raise _no_answer(address) from error


def _cluster_result(job: Future[Result], address: str) -> Result | Lost:
    from distributed.scheduler import KilledWorker

    if job.cancelled():
        raise _no_answer(address)
    if isinstance(job.exception(), KilledWorker):
        return Lost(reason="the workers that took it died, most likely for want of memory. Give them more of it.")
    return job.result()


def _no_answer(address: str) -> MissingDependency:
    return MissingDependency(
        "no scheduler answers", where=address, remedy="Start one with `dask scheduler`, or work with --workers."
    )
