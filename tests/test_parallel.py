"""Cases in parallel: the same results everywhere, one dead process costs one case, and nothing waits for ever."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from dask_cluster import dask_cluster

from flarekit.errors import InputError, MissingDependency, UsageError
from flarekit.parallel import Lost, run_cases
from flarekit.parallel import cluster as cluster_module
from flarekit.parallel import scheduler as scheduler_module


def square(number: int) -> int:
    return number * number


def square_slowly(number: int) -> int:
    time.sleep(0.1)
    return number * number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return square_slowly(number)


def die_at_first_sight(path: str) -> bool:
    """As a case may that fits into memory once others do not take it."""
    if not os.path.exists(path):
        with open(path, "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    return True


def refuse(number: int) -> int:
    raise InputError(f"number {number} is not to be had", remedy="Take another.")


class Counted:
    """A collection that knows how many of its items were taken."""

    def __init__(self, size: int) -> None:
        self.size, self.taken = size, 0

    def __len__(self) -> int:
        return self.size

    def __contains__(self, item: object) -> bool:
        return item in range(self.size)

    def __iter__(self) -> Iterator[int]:
        for number in range(self.size):
            self.taken += 1
            yield number


def test_inline_work_keeps_the_order_and_takes_one_item_at_a_time():
    items = Counted(4)
    for received, (item, result) in enumerate(run_cases(square, items)):
        assert (item, result) == (received, received**2)
        assert items.taken == received + 1


def test_processes_give_what_inline_work_gives_and_hold_one_case_each():
    items, results = Counted(9), {}
    for item, result in run_cases(square, items, workers=2):
        results[item] = result
        assert items.taken - len(results) < 3
    assert results == {number: number**2 for number in range(9)}
    assert multiprocessing.active_children() == []


def test_nothing_to_do_starts_nothing():
    assert list(run_cases(square, [], workers=3)) == []


def test_a_process_that_dies_costs_its_own_case_alone():
    results = dict(run_cases(die_at_three, range(7), workers=2))
    lost = results.pop(3)
    assert isinstance(lost, Lost) and "memory" in lost.reason
    assert results == {number: number**2 for number in (0, 1, 2, 4, 5, 6)}


def test_a_case_that_got_through_alone_is_not_lost(tmp_path):
    path = str(tmp_path / "seen")
    assert list(run_cases(die_at_first_sight, [path], workers=1)) == [(path, True)]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_work_raises_is_raised(workers):
    with pytest.raises(InputError, match="not to be had") as caught:
        list(run_cases(refuse, range(3), workers=workers))
    assert caught.value.remedy == "Take another."


def test_workers_do_not_outlive_a_parent_that_is_killed():
    script = (
        "from test_parallel import square_slowly; from flarekit.parallel import run_cases\n"
        "if __name__ == '__main__':\n"
        "    for _ in run_cases(square_slowly, range(1000), workers=2): print('going', flush=True)\n"
    )
    path = os.path.dirname(__file__)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"going\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait(timeout=10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert children and alive == []


@pytest.mark.slow
def test_a_case_that_kills_a_clusters_workers_is_lost(tmp_path):
    with dask_cluster(tmp_path, workers=1, nanny=True, allowed_failures=0) as cluster:
        results = dict(run_cases(die_at_three, [3], scheduler=cluster.address))
    assert isinstance(results[3], Lost)


def test_a_cluster_without_workers_or_without_its_scheduler_is_an_error_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_RESTART_S", 0.5)
    with dask_cluster(tmp_path, workers=0) as cluster, pytest.raises(MissingDependency, match="no worker"):
        list(run_cases(square, range(3), scheduler=cluster.address))
    monkeypatch.setattr(scheduler_module, "CONNECT_S", 0.5)
    with pytest.raises(MissingDependency, match="no scheduler answers"):
        list(run_cases(square, range(3), scheduler=cluster.address))


@pytest.mark.slow
def test_a_scheduler_that_dies_is_an_error(tmp_path):
    with dask_cluster(tmp_path) as cluster, pytest.raises(MissingDependency, match="no scheduler answers"):
        for _ in run_cases(square_slowly, range(100), scheduler=cluster.address):
            cluster.scheduler.kill()


@pytest.mark.slow
def test_a_scheduler_that_falls_silent_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(cluster_module, "_SILENCE_S", 1.0)
    with dask_cluster(tmp_path) as cluster, pytest.raises(MissingDependency, match="no scheduler answers"):
        for _ in run_cases(square_slowly, range(100), scheduler=cluster.address):
            cluster.scheduler.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize(
    ("spoken", "message"),
    [(b"", "no scheduler answers"), (b"HTTP/1.0 400 Bad request\r\n", "something else than a scheduler answers")],
    ids=["silent", "dashboard"],
)
def test_a_port_where_no_scheduler_listens_is_an_error_soon(spoken, message, monkeypatch):
    monkeypatch.setattr(scheduler_module, "CONNECT_S", 0.3)
    accepted: list[socket.socket] = []

    def answer() -> None:
        accepted.append(server.accept()[0])
        accepted[0].sendall(spoken)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(MissingDependency, match=message):
            list(run_cases(square, [1], scheduler=f"tcp://127.0.0.1:{server.getsockname()[1]}"))
    accepted[0].close()


@pytest.mark.parametrize("address", ["host:8786", "http://host:8786", "tcp://host", "tcp://:8786", "tcp://host:port"])
def test_what_is_no_address(address):
    with pytest.raises(UsageError, match="not the address of a scheduler"):
        list(run_cases(square, [1], scheduler=address))


def test_without_distributed_the_extra_is_named(monkeypatch):
    plain_import = builtins.__import__

    def without_distributed(name, *arguments, **keywords):
        if name == "distributed":
            raise ImportError(name)
        return plain_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_distributed)
    with pytest.raises(MissingDependency, match="distributed") as caught:
        list(run_cases(square, [1], scheduler="tcp://127.0.0.1:8786"))
    assert "flarekit[distributed]" in caught.value.remedy
