"""Runs as real processes: killed in mid-run, two at once on one folder, and several that train together."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from training_setup import Workplace, workplace

from flarekit.cli import main
from flarekit.config.phantom import RECIPES
from flarekit.phantom import DatasetPlan, Part, write_tissue_store
from flarekit.training.alone import Alone
from flarekit.training.processes import make_accelerator

__all__ = ["workplace"]

SCRIPT = str(Path(__file__).parent / "training_process.py")


def command(workplace: Workplace, name: str, **changes: object) -> list[str]:
    """`train cps` with few, small iterations."""
    values = {"iterations": 8, "labelled_batch": 1, "unlabelled_batch": 1, "validate_every": 4, "save_every": 3}
    options = [part for key, value in (values | changes).items() for part in (f"--{key.replace('_', '-')}", str(value))]
    stores = [
        part for role in ("labelled", "unlabelled", "validation") for part in (f"--{role}", workplace.folder / role)
    ]
    where = ["--name", name, "--runs", workplace.folder / "runs", "--arch", "tiny", "--crop", 32, "--device", "cpu"]
    return ["train", "cps", *map(str, [*stores, *where, *options])]


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen([sys.executable, SCRIPT, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def lines(workplace: Workplace, name: str) -> list[dict]:
    """The metrics so far, less what differs from run to run; a line that is being written is left out."""
    file = workplace.folder / "runs" / name / "metrics.jsonl"
    whole = (
        [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")] if file.exists() else []
    )
    return [{k: v for k, v in json.loads(line).items() if k not in ("elapsed_s", "waited_share")} for line in whole]


def wait_for_iteration(workplace: Workplace, name: str, iteration: int, process: subprocess.Popen[str]) -> None:
    while not any(line["iteration"] >= iteration for line in lines(workplace, name)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def test_a_run_killed_in_mid_run_and_resumed_equals_one_that_was_not(workplace: Workplace) -> None:
    assert main(command(workplace, "whole")) == 0
    process = start(*command(workplace, "killed"))
    wait_for_iteration(workplace, "killed", 5, process)  # past the state of iteration 3
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and len(lines(workplace, "killed")) < len(lines(workplace, "whole"))
    assert main([*command(workplace, "killed"), "--resume"]) == 0
    assert lines(workplace, "killed") == lines(workplace, "whole")
    for kept in ("best", "last"):
        whole, killed = (load_file(workplace.folder / "runs" / n / f"{kept}.safetensors") for n in ("whole", "killed"))
        assert whole.keys() == killed.keys() and all(torch.equal(whole[key], killed[key]) for key in whole)


def test_two_processes_do_not_train_one_run(workplace: Workplace, run_cli) -> None:
    long = command(workplace, "run", iterations=100_000)
    process = start(*long)
    try:
        wait_for_iteration(workplace, "run", 3, process)
        second = run_cli(*long, "--resume")
        assert second.code == 6
        assert f"process {process.pid} on {platform.node()} is training this run" in second.stderr
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_one_process_alone_learns_what_it_learns_under_accelerate(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command(workplace, "alone", iterations=4, save_every=2, clip_norm=1.0)) == 0
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert isinstance(make_accelerator(torch.device("cpu"), "fp32"), Accelerator)
    assert main(command(workplace, "launched", iterations=4, save_every=2, clip_norm=1.0)) == 0
    assert lines(workplace, "alone") == lines(workplace, "launched")


class Watch(nn.Module):
    """Remembers in which type it multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        product = self.linear(values)
        self.seen = product.dtype
        return product.float().sum()


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_arithmetic_alone_is_what_the_precision_says_and_weights_stay_float32(bf16: bool, dtype: torch.dtype) -> None:
    watch, alone = Watch(), Alone(torch.device("cpu"), bf16=bf16)
    objective, optimiser = alone.prepare(watch, torch.optim.AdamW(watch.parameters()))
    alone.backward(objective(torch.ones(1, 3)))
    optimiser.step()
    assert watch.seen == dtype and watch.linear.weight.dtype == watch.linear.weight.grad.dtype == torch.float32


@pytest.mark.slow
def test_a_training_needs_no_package_that_reads_volumes_or_shows_anything(workplace: Workplace) -> None:
    plan = DatasetPlan(recipe=RECIPES["randomised"], labelled=Part(count=1), spacing_mm=5.0, size=80, slice_mm=20.0)
    write_tissue_store(workplace.folder / "tissues", plan, compression="none")
    script = str(Path(__file__).parent / "bare_python.py")
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, script, str(workplace.folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = ("cps", "supervised", "stcn", "painted-cps", "painted-stcn")
    assert done.stdout.split() == [f"bare-{name}@1" for name in names]
    assert done.stderr.count("curves.png is not drawn") == 5


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_the_doubled_batch(workplace: Workplace) -> None:
    """With frozen normalisation and no dropout; a part of the networks gets no gradient, and stops nothing."""
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        str(free_port()),
    ]
    together = command(workplace, "together", iterations=6, lr=3e-3, save_every=3)
    whole = command(workplace, "alone", iterations=6, lr=3e-3, labelled_batch=2, unlabelled_batch=2)
    for arguments in ([*launch, SCRIPT, "--still", *together], [SCRIPT, "--still", *whole]):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Published") == 1
    for one, other in zip(lines(workplace, "together"), lines(workplace, "alone"), strict=True):
        assert one["kind"] == other["kind"]
        if one["kind"] == "train":
            assert one == pytest.approx(other, abs=1e-4)
