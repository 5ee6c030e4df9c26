"""Damaged DICOM of every kind, read in a process whose memory is limited: nothing but flarekit's own errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("dicom_mutations.py")
KINDS = 9


def run(folder: Path, count: int, seed: int, timeout_s: float) -> None:
    command = [sys.executable, str(SCRIPT), str(folder), str(count), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert len(done.stdout.splitlines()) == KINDS


def test_damaged_files_end_in_an_error_of_flarekit(tmp_path):
    """Over a thousand of them."""
    run(tmp_path, 120, seed=0, timeout_s=120)


@pytest.mark.slow
def test_many_more_damaged_files_end_in_an_error_of_flarekit(tmp_path):
    run(tmp_path, 300, seed=1, timeout_s=300)
