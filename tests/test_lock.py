"""A folder is worked on by one process at a time, whatever lies where the lock should."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flarekit.errors import OutputError
from flarekit.lock import held


def test_a_lock_file_that_a_dead_process_left_is_taken_over(tmp_path):
    (tmp_path / "work.lock").write_text("999999\n")
    with held(tmp_path / "work.lock", "working here", OutputError):
        assert (tmp_path / "work.lock").read_text() != "999999\n"


def test_a_full_disk_says_so(tmp_path, full_disk):
    with (
        full_disk(0),
        pytest.raises(OutputError, match="work.lock: no space left"),
        held(tmp_path / "work.lock", "working here", OutputError),
    ):
        raise AssertionError("nothing is held")


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / "work.lock").mkdir()
    with (
        pytest.raises(OutputError, match="work.lock: cannot be written"),
        held(tmp_path / "work.lock", "", OutputError),
    ):
        raise AssertionError("nothing is held")


def test_of_a_process_that_did_not_write_its_number_no_number_is_said(tmp_path):
    lock = tmp_path / "work.lock"
    lock.write_bytes(b"\xff\xfe")
    script = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX)\n"
    script += "print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(OutputError, match="another process is working here"),
            held(lock, "working here", OutputError),
        ):
            raise AssertionError("nothing is held")
