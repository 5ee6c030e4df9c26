"""examples/starter: the recipe that is shipped, and the whole script on tiny networks and coarse CTs."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_training import stop_after
from training_setup import TINY, TINY_GRID

from flarekit.checkpoints import Card, Provenance, Registry
from flarekit.checkpoints.registry import PACKAGED
from flarekit.cli import main
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.errors import CheckpointError, InputError
from flarekit.labels import FLARE22
from flarekit.models import build
from flarekit.phantom import canonical_volume, synthetic_anatomy
from flarekit.training import runs
from flarekit.volumes import write_labels, write_volume

POPEN = subprocess.Popen


def next_version(name: str) -> int:
    """The version after the package's."""
    return max(int(folder.name) for folder in (PACKAGED / name).iterdir()) + 1


NEXT = f"starter-propagation@{next_version('starter-propagation')}"
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
    module, painting, commands = map(importlib.import_module, ("starter", "painting", "commands"))
    split = {"labelled": ["anatomy"], "unlabelled": [], "validation": ["anatomy"], "test": ["anatomy"]}
    monkeypatch.setattr(painting, "SPLIT", split)
    monkeypatch.setattr(painting, "TRAIN", ("anatomy",))
    monkeypatch.setattr(commands.subprocess, "Popen", InProcess)
    monkeypatch.setattr(InProcess, "started", [])
    monkeypatch.setattr(runs, "draw_curves", lambda *_: None)
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", replace(TINY_GRID, spacing_mm=5.0))
    monkeypatch.setattr(importlib.import_module("scoring"), "EVERY", "4")
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
    assert "| train-starter-reference-3-whole |" in plan and "| score-real-full |" in plan
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
        patch.setattr(pieces.Clock, "left_s", 0.0)
        patch.setattr(pieces.Clock, "require_time", lambda clock: None)
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
    cards = published.listing().cards
    versions = [*map(next_version, names[:2]), 1]
    assert [(card.name, card.version) for card in cards] == list(zip(names, versions, strict=True))
    assert published.card("starter-reference").parents == ("starter-reference-first@1",)
    assert published.card("starter-reference").provenance.initialisation == "random"
    with pytest.raises(CheckpointError, match="challenge"):
        published.card("starter-reference", challenge=True)


def test_one_network_is_made_and_scored_without_the_others(
    starter: ModuleType, command, tmp_path: Path, capsys
) -> None:
    assert starter.main(command("--only", "starter-propagation")) == 0
    out = tmp_path / "out"
    assert [folder.name for folder in (out / "runs").iterdir()] == ["starter-propagation-first"]
    results = (out / "results.md").read_text()
    assert results.startswith("## test, propagation") and results.count("##") == 1
    kept = json.loads((out / "scores" / "cases" / "test_propagation_labelled_0001.json").read_text())
    assert kept["model"] == NEXT  # the published one, not that of the package
    rest = capsys.readouterr().out
    assert "train-starter-reference" not in rest and "score-test-full" not in rest
    steps = starter.steps_of(starter.study_of(starter.arguments_of(command())))
    left = [step.name for step in steps if not starter.Ledger(out / "steps").done(step)]
    assert left[0] == "train-starter-reference-first" and left[-1] == "score-test-full"
    assert starter.main(command("--only", "starter-refrence")) == 2
    assert "no network is called 'starter-refrence'" in capsys.readouterr().err


def ct_of(seed: int, path: Path) -> Path:
    rng = np.random.default_rng(seed)
    array = rng.integers(-1000, 1000, size=(3, 5, 7), dtype=np.int16)
    path.parent.mkdir(exist_ok=True)
    write_volume(path, canonical_volume(array, (5.0, 2.0, 1.0)))
    return path


@pytest.mark.parametrize("name", ["copy.nii", "cts/copy.nrrd"])
def test_a_ct_that_is_scored_is_not_learned_from_whatever_its_file_is(
    starter: ModuleType, command, tmp_path: Path, capsys, name: str
) -> None:
    ct, copy = ct_of(1, tmp_path / "ct.nii.gz"), ct_of(1, tmp_path / name)
    assert copy.read_bytes() != ct.read_bytes()
    given = copy if copy.parent == tmp_path else copy.parent
    assert starter.main(command("--cts", given, "--score", ct, ct)) == 2
    assert "ct.nii.gz is scored" in capsys.readouterr().err and not (tmp_path / "out" / "study.json").exists()
    other = ct_of(2, tmp_path / "other.nii.gz")
    study = starter.study_of(starter.arguments_of(command("--cts", given, "--score", other, other)))
    study.begin()
    with pytest.raises(starter.UsageError, match="is scored"):
        replace(study, score=(ct, ct)).refuse_scored()


def test_a_folder_is_scored_on_one_real_ct(starter: ModuleType, command, tmp_path: Path, capsys) -> None:
    scoring = importlib.import_module("scoring")
    first, other = (ct_of(seed, tmp_path / f"scored{seed}.nii.gz") for seed in (1, 2))
    study = starter.study_of(starter.arguments_of(command("--score", first, first)))
    study.out.mkdir()
    replace(study, score=(other, other)).begin()  # nothing is scored yet
    scoring.score(replace(study, score=None), lambda part: None, "test")
    study.begin()
    scoring.score(study, lambda part: None, "real")
    study.begin()
    replace(study, score=None).begin()
    assert starter.main(command("--score", first, other)) == 2
    assert "was scored on another CT or label map" in capsys.readouterr().err
    first.unlink()
    study.begin()  # where volumes cannot be read there may be none


def publish_stage(starter: ModuleType, command, tmp_path: Path, monkeypatch, *seen: str):
    """A study whose STCN has been trained by a stage that saw these data, and a way to publish it."""
    monkeypatch.setenv("FLAREKIT_HOME", str(tmp_path / "out" / "home"))
    study, trainings = starter.study_of(starter.arguments_of(command())), importlib.import_module("trainings")
    card = Card(
        kind="propagation", name="starter-propagation-first", networks={"stcn": TINY.stcn},
        preprocessing=TINY_GRID, labels=FLARE22, provenance=Provenance(data=seen),
    )  # fmt: skip
    Registry.default().publish(card, {"stcn": build(TINY.stcn)})
    return trainings.publish, study


def test_a_publication_that_was_killed_before_it_was_noted_is_not_repeated(
    starter: ModuleType, command, tmp_path: Path, monkeypatch
) -> None:
    publish, study = publish_stage(starter, command, tmp_path, monkeypatch)
    publish(study, "starter-propagation")
    publish(study, "starter-propagation")
    cards = Registry(study.registry, packaged=tmp_path / "none").listing().cards
    assert [card.reference for card in cards] == [NEXT]


def test_a_card_names_the_real_cts_that_the_weights_it_started_from_saw(
    starter: ModuleType, command, tmp_path: Path, monkeypatch
) -> None:
    real = f"{importlib.import_module('trainings').REAL}CPTAC-PDA (CC BY)"
    publish, study = publish_stage(starter, command, tmp_path, monkeypatch, "train (painted CTs)", real)
    publish(study, "starter-propagation")
    seen = Registry(study.registry).card("starter-propagation").provenance
    assert real in seen.data and "train (painted CTs)" not in seen.data
    assert "and on real CTs without labels" in seen.notes


def test_two_cts_of_one_name_are_refused(starter: ModuleType, command, tmp_path: Path, capsys) -> None:
    cts = [ct_of(seed, tmp_path / f"site{seed}" / "ct.nii.gz") for seed in (1, 2)]
    assert starter.main(command("--cts", cts[0], "--cts", cts[1])) == 3
    assert "ct" in capsys.readouterr().err and not (tmp_path / "out" / "study.json").exists()


def test_cts_need_not_be_there_once_they_are_stored(starter: ModuleType, command, tmp_path: Path) -> None:
    ct = ct_of(1, tmp_path / "ct.nii.gz")
    study = starter.study_of(starter.arguments_of(command("--cts", ct)))
    study.out.mkdir()
    study.begin()
    with pytest.raises(starter.UsageError, match="begun with another cts"):
        replace(study, cts=()).begin()
    ct.unlink()
    study.begin()


def test_a_step_is_done_by_one_process_at_a_time(starter: ModuleType, command, tmp_path: Path, capsys) -> None:
    (painting,) = starter.steps_of(starter.study_of(starter.arguments_of(command())), until="paint-synthetic")
    with starter.Ledger(tmp_path / "out" / "steps").held(painting):
        assert starter.main(command()) == 2
    assert "another process is at paint-train of this --out" in capsys.readouterr().err


def test_threads_are_passed_on(starter: ModuleType, command, monkeypatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(
        InProcess, "communicate", lambda process, timeout=None: (started.append(process.arguments) or "", None)
    )
    monkeypatch.setattr(InProcess, "returncode", 0, raising=False)
    starter.study_of(starter.arguments_of(command("--threads", 1))).commands.run("phantom", "out")
    starter.study_of(starter.arguments_of(command())).commands.run("phantom", "out")
    assert started == [["--threads", "1", "phantom", "out", "--json"], ["phantom", "out", "--json"]]


def test_packaged_weights_keep_their_bytes_and_version_and_need_their_credits(
    starter: ModuleType, tmp_path: Path, monkeypatch, capsys
) -> None:
    package = importlib.import_module("package")
    monkeypatch.setattr(package, "PACKAGED", tmp_path / "starter")
    monkeypatch.setattr(package, "TERMS", tmp_path / "LICENSE-weights")
    package.TERMS.write_text("CTs of\n  CPTAC-PDA (CC BY) were used.")
    trained = Registry(tmp_path / "published" / "checkpoints")
    networks = {"stcn": build(TINY.stcn)}
    data = ("painted", f"{package.REAL}CTs of CPTAC-PDA (CC BY)", f"{package.REAL}a crop")
    card = Card(
        kind="propagation", name="starter-propagation", networks={"stcn": TINY.stcn},
        preprocessing=TINY_GRID, labels=FLARE22, provenance=Provenance(data=data),
    )  # fmt: skip
    trained.publish(card, networks, half=True)
    assert package.main([str(tmp_path / "published")]) == 2
    assert f"{NEXT} saw 'a crop', which LICENSE-weights does not credit" in capsys.readouterr().err
    package.TERMS.write_text("CTs of\n  CPTAC-PDA (CC BY) and a crop were used.")
    assert package.main([str(tmp_path / "published")]) == 0
    put = package.PACKAGED / "starter-propagation" / NEXT.partition("@")[2]
    kept = trained.folder("starter-propagation")
    assert all((put / file.name).read_bytes() == file.read_bytes() for file in kept.iterdir())
    assert package.main([str(tmp_path / "published"), "starter-propagation"]) == 4
    assert "is in the package. Publish a higher version" in capsys.readouterr().err


def test_a_folder_is_not_gone_on_with_by_another_recipe(starter: ModuleType, command, tmp_path: Path, capsys) -> None:
    study = starter.study_of(starter.arguments_of(command()))
    study.out.mkdir()
    study.begin()
    study.begin()
    assert starter.main(command("--init")) == 2 and "begun with another init" in capsys.readouterr().err
    (tmp_path / "recipe.toml").write_text(TINY_RECIPE.replace("iterations = 6", "iterations = 7"))
    assert starter.main(command()) == 2 and "begun with another recipe" in capsys.readouterr().err


def test_a_budget_that_is_spent_already_interrupts_nothing(starter: ModuleType) -> None:
    pieces = importlib.import_module("pieces")
    with pytest.raises(pieces.OutOfTime), pieces.Clock(pieces.STOP_S - 1).interrupting():
        pass


def test_a_budget_interrupts_what_runs_and_says_what_is_left(starter: ModuleType) -> None:
    pieces = importlib.import_module("pieces")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell script's `starter.py &`
    try:
        with pytest.raises(pieces.OutOfTime), pieces.Clock(pieces.STOP_S + 0.05).interrupting():
            time.sleep(20)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt), pieces.Clock(600.0).interrupting():
        raise KeyboardInterrupt  # of somebody who is impatient


def test_a_command_is_stopped_when_the_budget_ends(starter: ModuleType, command) -> None:
    pieces = importlib.import_module("pieces")
    study = starter.study_of(starter.arguments_of(command("--budget-minutes", (pieces.STOP_S + 0.2) / 60)))
    sleeper = POPEN(["sh", "-c", "sleep 60 & sleep 60"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    started = time.monotonic()
    with pytest.raises(pieces.OutOfTime):
        study.commands.wait(sleeper)
    assert sleeper.returncode and time.monotonic() - started < 30  # its child held the pipe, and is gone too


def test_sigterm_stops_a_command_like_ctrl_c(starter: ModuleType, command, tmp_path: Path) -> None:
    """Nothing that starter.py has started goes on without it."""
    folder = Path(starter.__file__).parent
    script = f"""if True:
        import os, signal, subprocess, sys, threading
        sys.path.insert(0, {str(folder)!r})
        import starter

        def work(*_):
            child = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, text=True, start_new_session=True)
            print(child.pid, flush=True)
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            starter.study_of(starter.arguments_of(sys.argv[1:])).commands.wait(child)

        starter._make = work
        starter.main(sys.argv[1:])
    """
    started = POPEN(
        [sys.executable, "-c", script, *map(str, command())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = started.communicate(timeout=60)
    assert "KeyboardInterrupt" in err, err
    with pytest.raises(ProcessLookupError):
        os.kill(int(out), 0)


def test_a_recipe_with_an_unknown_setting_is_refused(starter: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(TINY_RECIPE.replace("crop = 32", "croop = 32", 1))
    with pytest.raises(InputError, match="is no recipe .*croop"):
        starter.Recipe.read(path)


def test_scores_are_averaged_over_cases_then_over_organs(starter: ModuleType) -> None:
    cases = [{"dice": {"liver": 0.8, "spleen": 0.5}, "nsd": {"liver": 0.6}}, {"dice": {"liver": 0.6}, "nsd": {}}]
    markdown = importlib.import_module("scores").markdown
    lines = markdown("test", {"cases": cases}).splitlines()
    assert lines[0] == "## test" and lines[4:] == [
        "| liver | 0.700 | 0.600 |", "| spleen | 0.500 | nan |", "| mean | 0.600 | nan |"
    ]  # fmt: skip
    found = [{"every": 5, "annotated": 20, "copy": {"mean": 0.8}, "propagation": {"mean": 0.9}}]
    assert markdown("x", {"results": found}).splitlines()[2:] == [
        "| every | copy | propagation |", "| --- | --- | --- |", "| 5 | 0.800 | 0.900 |"
    ]  # fmt: skip
