"""examples/starter: the recipe that is shipped, and the whole script on tiny networks and coarse CTs."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from test_training import stop_after
from training_setup import TINY, TINY_GRID

from flarekit.checkpoints import Registry
from flarekit.cli import main
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.errors import CheckpointError, InputError
from flarekit.phantom import canonical_volume, synthetic_anatomy
from flarekit.training import runs
from flarekit.volumes import write_labels

POPEN = subprocess.Popen
STARTER = Path(__file__).parents[1] / "examples" / "starter"
TINY_RECIPE = """
arch = "tiny"
seeds = [0, 1]
[paint]
train = 1
synthetic = 1
unlabelled = 1
validation = 1
test = 1
options = ["--spacing", "5", "--size", "80", "--slice-distance", "20"]
test_options = ["--spacing", "5", "--size", "80", "--slice-distance", "20", "--seed", "3000"]
minutes = 1
[pair]
augmentation = "scanners"
crop = 32
[pair.loop]
validate_every = 6
[pair.optimiser]
ema = 0.9
[[pair.stages]]
name = "first"
minutes = 1
[pair.stages.loop]
iterations = 6
[[pair.stages]]
name = "second"
minutes = 1
[pair.stages.loop]
iterations = 1
[stcn]
augmentation = "scanners"
clips = 1
crop = 32
[[stcn.stages]]
name = "first"
minutes = 1
[stcn.stages.loop]
iterations = 1
"""


class InProcess:
    """A `flarekit` command that runs here instead of in a process of its own: without minutes of imports."""

    started: list[list[str]] = []

    def __init__(self, command: list[str], *, cwd: Path, env: dict[str, str], **_: object) -> None:
        self.arguments, self.cwd, self.env = command[3:], cwd, env
        self.started.append(self.arguments)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        written = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(written):
            patch.chdir(self.cwd)
            patch.setenv("FLAREKIT_HOME", self.env["FLAREKIT_HOME"])
            self.returncode = main(self.arguments)
        return written.getvalue(), None


class Sleeping:
    """A timer that never rings."""

    daemon = False

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        """Nothing."""

    cancel = start


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with networks of the size `tiny` to train and its commands in this process."""
    monkeypatch.syspath_prepend(str(STARTER))
    module = importlib.import_module("starter")
    split = {"labelled": ["anatomy"], "unlabelled": [], "validation": ["anatomy"], "test": ["anatomy"]}
    monkeypatch.setattr(module, "SPLIT", split)
    monkeypatch.setattr(module, "TRAIN", ("anatomy",))
    monkeypatch.setattr(module.subprocess, "Popen", InProcess)
    monkeypatch.setattr(InProcess, "started", [])
    monkeypatch.setattr(runs, "draw_curves", lambda *_: None)
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", replace(TINY_GRID, spacing_mm=5.0))
    monkeypatch.setattr(module, "EVERY", "4")
    return module


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    """The script's arguments on one coarse anatomy."""
    (tmp_path / "labels").mkdir()
    anatomy = synthetic_anatomy(5, (20.0, 5.0, 5.0), (16, 80, 80))
    write_labels(tmp_path / "labels" / "anatomy.nii.gz", canonical_volume(anatomy, (20.0, 5.0, 5.0)))
    (tmp_path / "recipe.toml").write_text(TINY_RECIPE)

    def arguments(*more: object) -> list[str]:
        own = ("--labels", tmp_path / "labels", "--out", tmp_path / "out", "--recipe", tmp_path / "recipe.toml")
        return [str(argument) for argument in (*own, "--workers", 0, *more)]

    return arguments


def test_the_shipped_recipe_is_read_and_its_plan_fits_into_eight_hours(
    starter: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert starter.main(["--out", str(tmp_path / "out"), "--plan", "--cts", "a.nii.gz", "--score", "b", "c"]) == 0
    plan = capsys.readouterr().out
    assert "| train-starter-reference-3-whole |" in plan and "| score-real |" in plan
    hours = float(plan.split("Expected of what is left: ")[1].split()[0])
    assert 5 < hours <= 8
    assert starter.main(["--out", str(tmp_path), "--plan", "--recipe", str(STARTER / "recipe_gpu.toml")]) == 0
    assert not (tmp_path / "out").exists()


def test_no_anatomy_is_both_learned_from_and_scored() -> None:
    split = json.loads((STARTER / "split.json").read_text())
    parts = [set(split[part]) for part in ("labelled", "unlabelled", "validation", "test")]
    assert [len(part) for part in parts] == [5, 30, 5, 10] and len(set.union(*parts)) == 50


def test_everything_is_painted_trained_published_and_scored(starter, command, tmp_path: Path, monkeypatch) -> None:
    assert starter.main(command("--until", "train-starter-reference-first")) == 0
    out = tmp_path / "out"
    pieces = importlib.import_module("pieces")
    with monkeypatch.context() as patch:  # a budget that ends within a training
        stop_after(4, patch)
        patch.setattr(starter.Clock, "left_s", 0.0)
        patch.setattr(starter.Clock, "require_time", lambda clock: None)
        patch.setattr(pieces.threading, "Timer", Sleeping)
        assert starter.main(command("--budget-minutes", 1)) == starter.UNFINISHED
    lines = (out / "runs" / "starter-reference-first" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4
    real = sorted((out / "stores").iterdir())
    assert [store.name for store in real] == ["synthetic", "train", "unlabelled", "validation"]
    assert starter.main(command()) == 0
    assert "## test, full" in (out / "results.md").read_text() and "| 4 |" in (out / "results.md").read_text()
    painted = len(InProcess.started)
    assert starter.main(command()) == 0 and len(InProcess.started) == painted
    published = Registry(out / "published" / "checkpoints", packaged=tmp_path / "none")
    names = ["starter-propagation", "starter-reference", "starter-reference-2"]
    assert [card.name for card in published.listing().cards] == names
    assert published.card("starter-reference").parents == ("starter-reference-first@1",)
    with pytest.raises(CheckpointError, match="challenge"):
        published.card("starter-reference", challenge=True)


def test_a_ct_that_is_scored_is_not_learned_from(starter, command, tmp_path: Path, capsys) -> None:
    ct, copy = tmp_path / "ct.nii.gz", tmp_path / "copy.nii.gz"
    ct.write_bytes(b"voxels")
    copy.write_bytes(b"voxels")
    study = starter.study_of(starter.arguments_of(command("--cts", copy, "--score", ct, ct)))
    with pytest.raises(starter.UsageError, match=r"ct.nii.gz is scored"):
        study.preprocess()


def test_a_scored_ct_in_a_folder_of_cts_is_found(starter: ModuleType, command, tmp_path: Path) -> None:
    (tmp_path / "cts").mkdir()
    for path in (tmp_path / "cts" / "a.nii.gz", tmp_path / "scored.nii.gz"):
        path.write_bytes(b"the same")
    asked = command("--cts", tmp_path / "cts", "--score", tmp_path / "scored.nii.gz", tmp_path / "labels.nii.gz")
    with pytest.raises(starter.UsageError, match="is scored"):
        starter.study_of(starter.arguments_of(asked)).preprocess()


def test_a_folder_is_not_gone_on_with_by_another_recipe(starter: ModuleType, command, tmp_path: Path, capsys) -> None:
    study = starter.study_of(starter.arguments_of(command()))
    study.out.mkdir()
    study.require_same()
    study.require_same()
    assert starter.main(command("--init")) == 2 and "begun with another init" in capsys.readouterr().err
    (tmp_path / "recipe.toml").write_text(TINY_RECIPE.replace("iterations = 6", "iterations = 7"))
    assert starter.main(command()) == 2 and "begun with another recipe" in capsys.readouterr().err


def test_a_budget_that_is_spent_already_interrupts_nothing(starter: ModuleType) -> None:
    with pytest.raises(starter.OutOfTime), starter.Clock(starter.STOP_S - 1).interrupting():
        pass


def test_a_budget_interrupts_what_runs_and_says_what_is_left(starter: ModuleType) -> None:
    with pytest.raises(starter.OutOfTime), starter.Clock(starter.STOP_S + 0.05).interrupting():
        time.sleep(20)
    with pytest.raises(KeyboardInterrupt), starter.Clock(600.0).interrupting():
        raise KeyboardInterrupt  # of somebody who is impatient


def test_a_command_is_stopped_when_the_budget_ends(starter: ModuleType, command) -> None:
    study = starter.study_of(starter.arguments_of(command("--budget-minutes", (starter.STOP_S + 0.2) / 60)))
    sleeper = POPEN(["sh", "-c", "sleep 60 & sleep 60"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    started = time.monotonic()
    with pytest.raises(starter.OutOfTime):
        study._wait(sleeper)
    assert sleeper.returncode and time.monotonic() - started < 30  # its child held the pipe, and is gone too


def test_a_recipe_with_an_unknown_setting_is_refused(starter: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(TINY_RECIPE.replace("crop = 32", "croop = 32", 1))
    with pytest.raises(InputError, match="is no recipe .*croop"):
        starter.Recipe.read(path)


def test_scores_are_averaged_over_cases_then_over_organs(starter: ModuleType) -> None:
    cases = [{"dice": {"liver": 0.8, "spleen": 0.5}, "nsd": {"liver": 0.6}}, {"dice": {"liver": 0.6}, "nsd": {}}]
    lines = starter.markdown("test", {"cases": cases}).splitlines()
    assert lines[0] == "## test" and lines[4:] == [
        "| liver | 0.700 | 0.600 |", "| spleen | 0.500 | nan |", "| mean | 0.600 | nan |"
    ]  # fmt: skip
    found = [{"every": 5, "annotated": 20, "copy": {"mean": 0.8}, "propagation": {"mean": 0.9}}]
    assert starter.markdown("x", {"results": found}).splitlines()[2:] == [
        "| every | copy | propagation |", "| --- | --- | --- |", "| 5 | 0.800 | 0.900 |"
    ]  # fmt: skip
