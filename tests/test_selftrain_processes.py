"""Rounds as a real process: killed within a training and within a labelling, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from selftrain_data import write_config, write_data

from flarekit.volumes import read_labels

SCRIPT = str(Path(__file__).parent / "training_process.py")


def start(folder: Path, home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FLAREKIT_HOME": str(home)}
    arguments = [sys.executable, SCRIPT, "selftrain", "run", "selftrain.toml", "--json"]
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_when(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    while not is_so():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def finish(folder: Path, home: Path) -> dict:
    out, messages = start(folder, home).communicate()
    assert out, messages
    return json.loads(out)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_within_its_steps_ends_like_one_that_was_not(tmp_path: Path) -> None:
    longer = ("iterations = 2", "iterations = 6")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_config(write_data(folder), longer)
    expected = finish(whole, whole / "home")
    rounds, home = killed / "rounds", killed / "home"
    kill_when(start(killed, home), lambda: lines(rounds / "round-1" / "ledger.jsonl") >= 1)
    kill_when(start(killed, home), lambda: lines(rounds / "runs" / "mine-r2-m1" / "metrics.jsonl") >= 3)
    found = finish(killed, home)
    for result in (expected, found):
        for each in result["rounds"]:  # ledgers say how long cases took
            for labels in (each["labels"], each["trained_on"]):
                (labels or {}).pop("ledger_sha256", None)
    assert found == expected
    for name in ("mine-r1-m1", "mine-r1-m2", "mine-r2-m1", "mine-r2-m2"):
        weights = [load_file(f / "home" / "checkpoints" / name / "1" / "weights.safetensors") for f in (whole, killed)]
        assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())
    for mask in sorted((whole / "rounds" / "round-2" / "labels").iterdir()):
        other = rounds / "round-2" / "labels" / mask.name
        assert (read_labels(mask).array == read_labels(other).array).all()
