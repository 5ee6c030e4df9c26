"""`flarekit train` from the command line."""

from __future__ import annotations

import json
import os
import signal

import pytest
from training_setup import Workplace, workplace

from flarekit.checkpoints import Registry
from flarekit.training import loop as loop_module

__all__ = ["workplace"]


def options(workplace: Workplace, name: str, *more: object) -> list[object]:
    folder = workplace.folder
    return [
        *("--labelled", folder / "labelled", "--validation", folder / "validation", "--name", name),
        *("--runs", folder / "runs", "--arch", "tiny", "--iterations", 2, "--validate-every", 2, "--crop", 32),
        *("--device", "cpu", *more),
    ]


def test_cps_trains_and_publishes(workplace: Workplace, run_cli) -> None:
    unlabelled = workplace.folder / "unlabelled"
    outcome = run_cli("train", "cps", *options(workplace, "pair", "--unlabelled", unlabelled, "--json"))
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["checkpoint"] == "pair@1" and result["kind"] == "reference"
    assert set(Registry.default().card("pair").networks) == {"transunet", "deeplabv3plus"}


def test_stcn_trains_and_prints_a_table(workplace: Workplace, run_cli) -> None:
    outcome = run_cli("train", "stcn", *options(workplace, "carrier", "--clips", 1))
    assert outcome.code == 0, outcome.stderr
    assert "Published carrier@1" in outcome.stdout and "mean" in outcome.stdout
    assert "starts" in outcome.stderr


def test_a_run_that_was_told_to_stop_ends_with_130_and_resumes(
    workplace: Workplace, run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop_module.Trainer._step

    def stopping(trainer: loop_module.Trainer, batch: object) -> dict:
        os.kill(os.getpid(), signal.SIGINT)
        return step(trainer, batch)

    command = ["train", "stcn", *options(workplace, "carrier", "--clips", 1)]
    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Trainer, "_step", stopping)
        outcome = run_cli(*command)
    assert outcome.code == 130 and "Stopped after iteration 1" in outcome.stderr
    again = run_cli(*command)
    assert again.code == 4 and "--resume" in again.stderr
    resumed = run_cli(*command, "--resume")
    assert resumed.code == 0 and "resumes after iteration 1" in resumed.stderr


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--arch", "huge"), 2, "--arch does not know 'huge'"),
        (("--crop", 100), 2, "crop is a multiple of 32 pixels, got 100"),
        (("--lr", -1), 2, "lr is positive, got -1"),
        (("--schedule", "linear"), 2, "schedule is one of"),
        (("--augmentation", "wild"), 2, "--augmentation does not know"),
        (("--precision", "bfloat16"), 2, "slower than float32 on a CPU"),
        (("--init", "nobody"), 5, "unknown checkpoint 'nobody'"),
        (("--labelled", "missing"), 3, "no store.json"),
        (("--name", "a/b"), 2, "is no name"),
    ],
)
def test_bad_options_are_one_line(workplace: Workplace, run_cli, more, code: int, message: str) -> None:
    outcome = run_cli("train", "stcn", *options(workplace, "run", *more))
    assert outcome.code == code, outcome.stderr
    assert message in outcome.stderr and outcome.stderr.count("\n") == 1
    assert not (workplace.folder / "runs").exists()
