"""Independent slices worked on side by side by threads of a CPU, each with its share of torch's own threads.

A slice's convolutions are too small to fill several cores, and what lies between them runs on one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_LANES = 4  # between torch's operations Python lets one thread at a time go on


def lanes_on(device: torch.device) -> int:
    """How many items `side_by_side` works on at once."""
    return min(MOST_LANES, torch.get_num_threads()) if device.type == "cpu" else 1


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> Iterator[Result]:
    """What `work` makes of each item, in their order; at most a few are ahead of the one that is asked for.

    On a CPU for which torch has several threads, that many items (at most `MOST_LANES`) are worked on at once, and
    until the last of them the thread that asks has its share of torch's threads, too; elsewhere one item comes after
    the other. What `work` raises is raised here, at its item's turn.
    """
    threads, lanes = torch.get_num_threads(), lanes_on(device)
    if lanes == 1:
        yield from map(work, items)
        return
    share = threads // lanes
    torch.set_num_threads(share)  # more of them would wait for work where the lanes have some
    pool = ThreadPoolExecutor(lanes, initializer=_share, initargs=(share,))
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > lanes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _share(threads: int) -> None:
    torch.get_num_threads()  # sets this thread up, which would undo what is set before
    torch.set_num_threads(threads)
