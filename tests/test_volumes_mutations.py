"""Thousands of broken files: refused by flarekit's own error or read, and never a crash, a balloon, a hang or a lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import volume_mutations
from volume_mutations import SAMPLES, limit_memory

COUNT = 1000
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run_child(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=Path(__file__).parent)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, int]]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        child = run_child(volume_mutations.__file__, folder, COUNT)
    assert child.returncode == 0, child.stderr[-3000:]
    assert child.stderr == "", "libraries write there what flarekit already says in its error"
    return json.loads(child.stdout)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_broken_file_is_refused_or_read_and_nothing_else(outcomes, name):
    assert sum(outcomes[name].values()) == COUNT
    assert outcomes[name]["refused"] > COUNT / 2, "most mutants break something"
    assert outcomes[name]["read"] > 20, "some get past the header"


def test_the_limit_on_memory_is_felt():
    assert limit_memory.__doc__
    child = run_child("-c", "import volume_mutations as m, numpy; m.limit_memory(); numpy.ones(1 << 28)")
    assert "MemoryError" in child.stderr
