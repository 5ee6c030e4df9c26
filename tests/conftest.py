"""Fixtures that every test may use."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker: more would get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from flarekit.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command line left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def shared_data() -> Path:
    """The folder of real CTs and label maps that `FLAREKIT_TEST_DATA` names."""
    folder = os.environ.get("FLAREKIT_TEST_DATA")
    if not folder:
        pytest.skip("FLAREKIT_TEST_DATA is not set: no real CT to test on")
    return Path(folder)


@pytest.fixture(autouse=True)
def own_registry(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty registry of the test's own, so that the user's is never touched."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("FLAREKIT_HOME", str(home))
    return home


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]):
    """Runs a flarekit command line in this process: `run_cli("models", "list").code`."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_disk(1000):` no file grows beyond 1000 bytes, for root as well."""

    @contextmanager
    def limit(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
