"""Slices worked on side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from flarekit.models.side_by_side import side_by_side

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """That many of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_their_items(threads: int) -> None:
    assert list(side_by_side(lambda n: n * n, range(20), CPU)) == [n * n for n in range(20)]


def test_two_items_are_under_way_at_once_where_torch_has_two_threads() -> None:
    before, meeting = torch.get_num_threads(), threading.Barrier(2)
    torch.set_num_threads(2)
    try:
        assert len(list(side_by_side(lambda _: meeting.wait(timeout=30), range(6), CPU))) == 6
    finally:
        torch.set_num_threads(before)


def test_lanes_and_caller_share_torchs_threads_and_the_caller_gets_them_back(threads: int) -> None:
    shares = {(torch.get_num_threads(), own) for own in side_by_side(lambda _: torch.get_num_threads(), range(8), CPU)}
    assert shares == {(1, 1)}  # 1 // 1, 2 // 2, 5 // 4
    assert torch.get_num_threads() == threads
    fresh: list[int] = []
    later = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert fresh == [threads]


def test_no_more_items_are_taken_than_the_lanes_need(threads: int) -> None:
    taken: list[int] = []
    results = side_by_side(lambda n: n, (taken.append(n) or n for n in range(100)), CPU)  # type: ignore[func-returns-value]
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + threads
    results.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == threads


def test_an_error_comes_at_its_items_turn(threads: int) -> None:
    results = side_by_side(lambda n: 6 // (2 - n), range(5), CPU)
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert torch.get_num_threads() == threads


def test_torchs_threads_come_back_where_nobody_asks_for_the_rest(threads: int) -> None:
    def disturbed() -> None:
        for result in side_by_side(lambda n: n, range(9), CPU):
            if result == 3:
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        disturbed()
    assert torch.get_num_threads() == threads
    assert list(side_by_side(lambda n: n, range(9), CPU)) == list(range(9))


def test_on_a_gpu_one_item_comes_after_the_other() -> None:
    here = threading.get_ident()
    assert set(side_by_side(lambda _: threading.get_ident(), range(3), torch.device("cuda"))) == {here}
