"""Cases over the workers of a dask.distributed cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from flarekit.errors import MissingDependency
from flarekit.parallel.lost import Lost
from flarekit.parallel.scheduler import CONNECT_S, no_answer, require_scheduler

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE_S = 30.0  # with no result for so long, look whether the cluster still has workers
_SILENCE_S = 180.0  # a scheduler says nothing while it imports what it is sent, and torch takes a busy machine long
_RESTART_S = 60.0  # a worker that a nanny starts anew is back in seconds


def over_cluster(
    work: Callable[[Item], Result], items: Collection[Item], address: str
) -> Iterator[tuple[Item, Result | Lost]]:
    """Each item with its result, as `run_cases` says, from the cluster whose scheduler has this address."""
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
    require_scheduler(address)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it would log is raised below
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:
        raise no_answer(address) from error
    with client:
        yield client


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
        return max(1, 2 * sum(client.nthreads(callback_timeout=_SILENCE_S).values()))
    except OSError as error:
        raise no_answer(address) from error


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
        raise no_answer(address) from error


def _cluster_result(job: Future[Result], address: str) -> Result | Lost:
    from distributed.scheduler import KilledWorker

    if job.cancelled():
        raise no_answer(address)
    if isinstance(job.exception(), KilledWorker):
        return Lost(reason="the workers that took it died, most likely for want of memory. Give them more of it.")
    return job.result()
