"""Cases worked on one after the other, in processes, or over a cluster: one loop for every command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from flarekit.parallel.cluster import over_cluster
from flarekit.parallel.lost import Lost
from flarekit.parallel.processes import in_processes

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        yield from over_cluster(work, items, scheduler)
    elif workers > 0:
        yield from in_processes(work, items, min(workers, max(1, len(items))))
    else:
        yield from ((item, work(item)) for item in items)
