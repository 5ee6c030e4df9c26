"""Rounds of training and pseudo-labelling: what they leave, when they stop, where they go on."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from segmentation_doubles import publish_tiny
from selftrain_data import write_config, write_data
from training_setup import TINY, TINY_GRID
from training_stores import ORGANS

from flarekit.checkpoints import Card, Registry
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.config.selftrain import RoundsConfig, SelftrainConfig, read_selftrain
from flarekit.data.store import SliceStore
from flarekit.errors import InputError, UsageError
from flarekit.files import sha256, write_json
from flarekit.selftrain import cycle
from flarekit.selftrain.labelling import NO_PREVIOUS, _consensus
from flarekit.selftrain.state import RoundLabels, RoundState, RunState, TrainedModel, write_state
from flarekit.selftrain.stopping import best_round, reason_to_stop
from flarekit.selftrain.training import ModelPlan, _settings, plan_control, plan_model, train_model
from flarekit.selftrain.workplace import Workplace
from flarekit.training import runs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the commands are run in, with data sets in it, and the architecture `tiny`."""
    monkeypatch.setattr(runs, "draw_curves", lambda *_: None)
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", replace(TINY_GRID, canvas=64))
    monkeypatch.chdir(write_data(tmp_path))
    return tmp_path


@dataclass
class Doubles:
    """Steps that take no time: what was trained, labelled and tested, and what that is said to have come to."""

    dice: dict[int, float] = field(default_factory=dict)  # validation Dice by round
    kept: int = 2
    plans: list[ModelPlan] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)
    tested: list[str] = field(default_factory=list)

    def train(self, plan: ModelPlan, *_: object) -> TrainedModel:
        self.plans.append(plan)
        number = int(plan.name.split("-r")[-1].split("-")[0]) if "-r" in plan.name else 0
        return TrainedModel(
            checkpoint=f"{plan.name}@1", started_from=plan.started_from, dice=self.dice.get(number, number / 10)
        )

    def label(self, round_: RoundState, *_: object) -> RoundLabels:
        self.labelled.append(round_.number)
        name = f"round-{round_.number}"
        return RoundLabels(
            folder=name, ledger_sha256=name, threshold=0.9, kept=self.kept, rejected=2 - self.kept, failed=0
        )

    def test(self, reference: str, found, place: Workplace, *_: object) -> None:
        self.tested.append(reference)
        for case in found.cases:
            dice = dict.fromkeys(ORGANS.names, 0.6 if "r2" in reference else 0.5)
            write_json(place.scores(reference) / f"{case.name}.json", {"case": case.name, "dice": dice}, overwrite=True)


@pytest.fixture
def doubles(place: Path, monkeypatch: pytest.MonkeyPatch) -> Doubles:
    """Nothing is trained, labelled or segmented."""
    made = Doubles()
    monkeypatch.setattr(cycle, "train_model", made.train)
    monkeypatch.setattr(cycle, "label_cases", made.label)
    monkeypatch.setattr(cycle, "score_checkpoint", made.test)
    return made


def run(place: Path, run_cli: Callable, *changes: tuple[str, str], more: str = "") -> dict:
    """What `selftrain run --json` says of the configuration with these changes."""
    outcome = run_cli("selftrain", "run", write_config(place, *changes, more=more).name, "--json")
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def card(reference: str) -> Card:
    return Registry.default().card(reference)


def test_two_rounds_and_a_test(place: Path, run_cli) -> None:
    result = run(place, run_cli, more='[test]\ncases = ["data/test"]\n')
    assert (result["step"], result["ended"], result["unlabelled"]) == ("done", "all 2 rounds are done", 2)
    first, second = result["rounds"]
    assert [model["checkpoint"] for model in second["models"]] == ["mine-r2-m1@1", "mine-r2-m2@1"]
    assert first["labels"]["kept"] == 2 and second["trained_on"] == first["labels"] and first["trained_on"] is None
    assert first["labels"]["ledger_sha256"] == sha256(place / "rounds" / "round-1" / "ledger.jsonl")
    taught = card("mine-r2-m2@1")
    assert taught.parents == ("mine-r1-m2@1", "mine-r1-m1@1")
    assert taught.training["init"] == "mine-r1-m2@1" and taught.training["training"]["loop"]["seed"] == 3
    assert taught.training["found"]["pseudo_labels"]["ledgers_sha256"] == [first["labels"]["ledger_sha256"]]
    assert taught.training["found"]["pseudo_labels"]["rounds"] == [1]
    arms = result["test"]["arms"]
    assert list(arms) == ["round 1", "round 2"] and result["test"]["cases"] == ["test0", "test1"]
    assert [(gain["of"], gain["over"]) for gain in result["test"]["gains"]] == [("round 2", "round 1")]
    assert second["test_dice"] == arms["round 2"]["dice"]["mean"]
    for store in ("labelled", "unlabelled", "validation"):
        opened = SliceStore.open(place / "rounds" / "stores" / store)
        assert all(opened.case(name).labelled == (store != "unlabelled") for name in opened.cases)


def test_a_run_that_is_done_is_left_as_it_is_and_shown(place: Path, doubles: Doubles, run_cli) -> None:
    more = '[control]\n[test]\ncases = ["data/test"]\n'
    result = run(place, run_cli, more=more)
    steps = (list(doubles.plans), list(doubles.labelled), list(doubles.tested))
    again = run_cli("selftrain", "run", "selftrain.toml")
    assert again.code == 0 and "mine is done already: all 2 rounds are done." in again.stderr
    assert (doubles.plans, doubles.labelled, doubles.tested) == steps
    shown = run_cli("selftrain", "status", "rounds", "--json")
    assert json.loads(shown.stdout) == result
    assert run_cli("selftrain", "status", "selftrain.toml", "--json").stdout == shown.stdout
    status = run_cli("selftrain", "status", "rounds").stdout
    assert "mine in rounds: done. All 2 rounds are done." in status and "mine-r1-m2@1" in status
    assert "+0.100 (+0.100 to +0.100)" in status and "mine-control-r2-m2@1" in status
    row = "| left blob | 0.500 | 0.600 | 0.600 | +0.100 (+0.100 to +0.100) | +0.000 (+0.000 to +0.000) |"
    assert row in (place / "rounds" / "test.md").read_text()


def test_more_rounds_go_on_from_the_last(place: Path, doubles: Doubles, run_cli) -> None:
    doubles.kept, more = 1, '[control]\nmodels = 1\n[test]\ncases = ["data/test"]\n'
    assert run(place, run_cli, ("number = 2", "number = 1"))["ended"] == "the only round is done"
    result = run(place, run_cli, more=more)
    assert [plan.name for plan in doubles.plans] == [
        "mine-r1-m1", "mine-r1-m2", "mine-r2-m1", "mine-r2-m2", "mine-control-r2-m1"
    ]  # fmt: skip
    longer = run(place, run_cli, ("number = 2", "number = 3"), more=more)
    assert result["control"]["rounds"] == 2 and longer["control"]["rounds"] == 3
    assert doubles.labelled == [1, 2, 3] and "round 3" in longer["test"]["arms"]


@pytest.mark.parametrize(("kept", "rounds", "ended"), [
    (0, 1, "no case was trusted in round 1"),
    (1, 4, "all 4 rounds are done"),
    (2, 2, "every one of the 2 unlabelled cases was used in round 2"),
])  # fmt: skip
def test_rounds_end_when_there_is_nothing_more_to_gain(
    place: Path, doubles: Doubles, run_cli, kept: int, rounds: int, ended: str
) -> None:
    doubles.kept = kept
    result = run(place, run_cli, ("number = 2", "number = 4"))
    assert (len(result["rounds"]), result["ended"]) == (rounds, ended)


def test_rounds_end_when_validation_dice_stops_rising(place: Path, doubles: Doubles, run_cli) -> None:
    doubles.kept, doubles.dice = 1, {1: 0.4, 2: 0.6, 3: 0.5, 4: 0.59, 5: 0.9}
    result = run(place, run_cli, ("number = 2", "number = 9\npatience = 2"))
    assert len(result["rounds"]) == 4 and result["best_round"] == 2
    assert result["ended"] == "validation Dice has not risen for 2 rounds"


def rounds_of(*dice: float | None) -> list[RoundState]:
    labels = RoundLabels(folder="f", ledger_sha256="", threshold=0.9, kept=1, rejected=1, failed=0)
    return [
        RoundState(number=n, models=(TrainedModel(checkpoint="a@1", dice=each),), labels=labels)
        for n, each in enumerate(dice, start=1)
    ]


def test_equal_dice_is_no_rise_and_unknown_dice_ends_nothing() -> None:
    config = RoundsConfig(number=9, patience=1)
    assert best_round(rounds_of(0.5, 0.5)).number == 1
    assert reason_to_stop(rounds_of(0.5, 0.5), config, 2) == "validation Dice has not risen for 1 round"
    assert reason_to_stop(rounds_of(0.5, 0.6), config, 2) is None
    assert reason_to_stop(rounds_of(None, 0.6, 0.5), config, 2) is None


def test_trained_checkpoints_serve_as_the_first_rounds_models(
    place: Path, doubles: Doubles, run_cli, monkeypatch
) -> None:
    monkeypatch.setattr(cycle, "given_model", lambda name, _: TrainedModel(checkpoint=name, dice=0.5))
    monkeypatch.setattr(Registry, "card", lambda *_, **__: SimpleNamespace(labels=ORGANS))
    result = run(place, run_cli, ("models = 2", 'models = 2\nfirst = ["b@3", "a@1"]'))
    assert [model["checkpoint"] for model in result["rounds"][0]["models"]] == ["b@3", "a@1"]
    assert [(plan.name, plan.started_from, plan.seed) for plan in doubles.plans] == [
        ("mine-r2-m1", "b@3", 2),
        ("mine-r2-m2", "a@1", 3),
    ]


def test_first_models_that_may_have_seen_the_fold_they_are_judged_on_are_named(
    place: Path, doubles: Doubles, run_cli, monkeypatch
) -> None:
    cards = {"a@1": "1/2", "b@1": "1/2"}
    trained = {
        name: SimpleNamespace(training={"stores": {"fold": fold}}, labels=ORGANS) for name, fold in cards.items()
    }
    monkeypatch.setattr(Registry, "card", lambda _, name, **__: trained[name])
    monkeypatch.setattr(cycle, "given_model", lambda name, _: TrainedModel(checkpoint=name, dice=0.5))
    first = ("models = 2", 'models = 2\nfirst = ["a@1", "b@1"]')
    folds = write_config(place, first, ('validation = ["data/validation"]\n', ""))
    outcome = run_cli("selftrain", "run", folds.name)
    assert outcome.code == 0 and "a@1" not in outcome.stderr
    assert "b@1 was not trained without fold 2/2: later rounds may be judged on cases it learned" in outcome.stderr
    shutil.rmtree(place / "rounds")
    assert "b@1" not in run_cli("selftrain", "run", write_config(place, first).name).stderr


@pytest.fixture
def config(place: Path) -> SelftrainConfig:
    return read_selftrain(write_config(place))


def test_a_models_training_is_that_of_its_round(config: SelftrainConfig) -> None:
    (done,) = rounds_of(0.5)
    done = replace(done, models=(TrainedModel(checkpoint="x@1"), TrainedModel(checkpoint="y@2")))
    plan = plan_model(config, Workplace(config.folder), done, 2)
    assert plan == ModelPlan(name="mine-r2-m2", number=2, seed=3, started_from="y@2", pseudo_labels=done.labels)
    pretrained = replace(config, run=replace(config.run, encoder_weights="imagenet", init="z@1"))
    settings = _settings(plan, pretrained, Workplace(config.folder))
    assert (settings.init, settings.encoder_weights) == ("y@2", None)
    assert settings.stores.pseudo_labels == (Path("rounds/f"),) and settings.stores.fold is None
    scratch = replace(pretrained, rounds=replace(config.rounds, start="scratch"))
    again = _settings(plan_model(scratch, Workplace(config.folder), done, 2), scratch, Workplace(config.folder))
    assert (again.init, again.encoder_weights) == ("z@1", "imagenet")


def test_without_validation_data_a_model_keeps_its_fold_through_all_rounds(config: SelftrainConfig) -> None:
    config = replace(config, data=replace(config.data, validation=()))
    place, (done,) = Workplace(config.folder), rounds_of(0.5)
    done = replace(done, models=done.models * 2)
    plans = [plan_model(config, place, before, 2) for before in (None, done)]
    assert [_settings(plan, config, place).stores.fold for plan in plans] == ["2/2", "2/2"]


def test_the_control_of_rounds_from_scratch_has_all_their_iterations_at_once(config: SelftrainConfig) -> None:
    scratch = replace(config, rounds=replace(config.rounds, start="scratch"))
    plan = plan_control(scratch, rounds_of(0.5)[0], 3, 2, None)
    assert plan == ModelPlan(name="mine-control-x3-m2", number=2, seed=1, rounds=3)


def test_the_control_goes_on_as_the_rounds_do(place: Path, doubles: Doubles, run_cli) -> None:
    doubles.kept = 1
    run(place, run_cli, ("number = 2", "number = 3"), more="[control]\nmodels = 1\n")
    controls = [plan for plan in doubles.plans if "control" in plan.name]
    assert [(plan.name, plan.started_from, plan.seed, plan.pseudo_labels) for plan in controls] == [
        ("mine-control-r2-m1", "mine-r1-m1@1", 2, None),
        ("mine-control-r3-m1", "mine-control-r2-m1@1", 4, None),
    ]


def test_the_first_round_has_no_masks_to_be_compared_with(config: SelftrainConfig) -> None:
    config = replace(config, consensus=replace(config.consensus, score="instability"))
    assert _consensus(config, None).score == NO_PREVIOUS
    assert _consensus(config, object()).score == "instability"  # type: ignore[arg-type]


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


def test_a_run_killed_after_any_step_ends_like_one_that_was_not(
    place: Path, doubles: Doubles, run_cli, monkeypatch
) -> None:
    doubles.kept, more = 1, '[control]\nmodels = 1\n[test]\ncases = ["data/test"]\n'
    whole, names = run(place, run_cli, more=more), [plan.name for plan in doubles.plans]
    shutil.rmtree(place / "rounds")
    doubles.plans.clear()
    kills = 0
    for written in range(1, 40):
        with monkeypatch.context() as patch:
            patch.setattr(cycle, "write_state", kill_after(written))
            try:
                killed = run(place, run_cli, more=more)
                break
            except Killed:
                kills += 1
    assert killed == whole and kills > 4
    assert list(dict.fromkeys(plan.name for plan in doubles.plans)) == names


def test_a_run_older_than_a_setting_goes_on_without_it_and_with_no_other_value(
    config: SelftrainConfig, place: Path
) -> None:
    work = Workplace(config.folder)
    write_state(work.folder, replace(work.open(config), step="storing cases"))
    lines = work.config.read_text().splitlines()
    work.config.write_text("\n".join(line for line in lines if not line.startswith(("field_of_view", "certainty"))))
    narrow = replace(config.training, augmentation=replace(config.training.augmentation, field_of_view=0.6))
    with pytest.raises(UsageError, match=r"training.augmentation.field_of_view was 1.0 and is 0.6"):
        work.open(replace(config, training=narrow))
    assert work.open(config).name == config.name


def kill_after(writes: int) -> Callable[[Path, RunState], None]:
    """Writes the state so many times, and then ends the process."""
    left = iter(range(writes))

    def write(folder: Path, state: RunState) -> None:
        write_state(folder, state)
        if next(left, None) == writes - 1:
            raise Killed

    return write


def test_an_unlabelled_case_that_cannot_be_read_is_named_and_left_out(place: Path, doubles: Doubles, run_cli) -> None:
    (place / "data" / "unlabelled" / "images" / "broken_0000.nii.gz").write_text("not a volume")
    outcome = run_cli("selftrain", "run", write_config(place, ("number = 2", "number = 1")).name, "--json")
    assert outcome.code == 0 and "unlabelled case broken is left out:" in outcome.stderr
    assert json.loads(outcome.stdout)["unlabelled"] == 2


def test_a_full_disk_ends_the_run_and_no_case_is_taken_for_unreadable(
    place: Path, doubles: Doubles, run_cli, full_disk
) -> None:
    path = write_config(place)
    with full_disk(6000):
        outcome = run_cli("selftrain", "run", path.name)
    assert outcome.code == 4 and "no space left" in outcome.stderr, outcome.stderr
    assert run(place, run_cli)["unlabelled"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threshold = 0.0", "thresold = 0.0"), "unknown settings ['consensus.thresold']"),
        (("iterations = 2", "iteration = 2"), "unknown settings ['train.iteration']"),
        (("iterations = 2", "seed = 2"), "unknown settings ['train.seed']"),
        (("number = 2", "nummber = 2"), "unknown settings ['rounds.nummber']"),
        (("crop = 32", 'crop = "32"'), "train.crop is a int, got '32'"),
        (("threshold = 0.0", "threshold = 1.5"), "threshold lies in 0..1, got 1.5"),
        (("models = 2", "models = 1"), "rounds.models is at least 2, masks are compared, got 1"),
        (("models = 2", 'models = 2\nfirst = ["a@1"]'), "rounds.first names 1 checkpoints, rounds.models says 2"),
        (("models = 2", 'models = 2\nstart = "last"'), "rounds.start is one of previous, scratch, got 'last'"),
        (('device = "cpu"', "training = 3"), "unknown settings ['training']"),
        (('["data/unlabelled"]', "[]"), "data.unlabelled names no folder"),
        (('name = "mine"\n', ""), "['name'] missing"),
        (('"none"', '"papper"'), "train.augmentation is one of paper, affine, scanners, none, got 'papper'"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_by_the_key(tmp_path: Path, change, message: str, monkeypatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    with pytest.raises(InputError) as caught:
        read_selftrain(write_config(tmp_path, change))
    assert message in str(caught.value) and "\n" not in str(caught.value) and "selftrain.toml" in str(caught.value)


def test_every_option_of_the_two_commands_can_be_said(config: SelftrainConfig, place: Path) -> None:
    text = 'confidence = 0.5\nconsistency = 0.3\nlr = 0.001\nmirror = "swap"\nclip_norm = 5.0\n\n[consensus]\n'
    text += 'score = "leave-one-out"\npropagation_model = "p"\nworkers = 2\nper_organ = true\n'
    changed = read_selftrain(write_config(place, ("\n[consensus]\n", text)))
    assert (changed.training.optimiser.lr, changed.training.consistency, changed.training.augmentation.mirror) == (
        0.001, 0.3, "swap"
    )  # fmt: skip
    assert changed.labelling.propagation_model == "p" and changed.labelling.workers == 2
    assert changed.consensus.per_organ and changed.consensus.score == "leave-one-out"


def test_other_settings_on_the_same_folder_are_refused(place: Path, doubles: Doubles, run_cli) -> None:
    run(place, run_cli)
    changed = run_cli("selftrain", "run", write_config(place, ("iterations = 2", "iterations = 3")).name)
    assert changed.code == 2 and "training.loop.iterations was 2 and is 3" in changed.stderr


def test_two_processes_do_not_work_on_one_run(place: Path, doubles: Doubles, run_cli) -> None:
    (place / "rounds").mkdir()
    script = "import sys; from pathlib import Path; from flarekit.training.lock import only_process\n"
    script += "with only_process(Path('rounds/selftrain.lock')): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        outcome = run_cli("selftrain", "run", write_config(place).name)
        assert outcome.code == 6
        assert f"rounds: process {other.pid} on {platform.node()} is training this run" in outcome.stderr


def test_a_checkpoint_that_is_not_there_is_missed_before_anything_is_done(place: Path, run_cli) -> None:
    path = write_config(place, ("models = 2", 'models = 2\nfirst = ["a@1", "b@1"]'))
    outcome = run_cli("selftrain", "run", path.name)
    assert outcome.code == 5 and "unknown checkpoint 'a@1'" in outcome.stderr
    assert not (place / "rounds" / "stores").exists()


def test_both_checkpoints_of_an_init_are_looked_for(place: Path, run_cli) -> None:
    path = write_config(place, ('arch = "tiny"', 'arch = "tiny"\ninit = "starter-reference, nobody@1"'))
    outcome = run_cli("selftrain", "run", path.name)
    assert outcome.code == 5 and "unknown checkpoint 'nobody@1'" in outcome.stderr


def test_a_test_case_without_labels_is_missed_before_anything_is_done(place: Path, run_cli) -> None:
    (place / "data" / "test" / "labels" / "test1.nii.gz").unlink()
    outcome = run_cli("selftrain", "run", write_config(place, more='[test]\ncases = ["data/test"]\n').name)
    assert outcome.code == 3 and "test1_0000.nii.gz: has no label map to be scored by" in outcome.stderr


def test_scores_that_are_lost_damaged_or_of_other_files_are_made_again(place: Path, doubles: Doubles, run_cli) -> None:
    more = '[test]\ncases = ["data/test"]\n'
    result = run(place, run_cli, more=more)
    scores, labels = place / "rounds" / "test", place / "data" / "test" / "labels"
    for change in (
        lambda: shutil.rmtree(scores / "mine-r1-m1@1"),
        lambda: (scores / "mine-r1-m1@1" / "test0.json").write_text("{"),
    ):
        doubles.tested.clear()
        change()
        assert run(place, run_cli, more=more) == result and doubles.tested == ["mine-r1-m1@1"]
    of_file = scores / "mine-r2-m1@1" / "test0.json"
    files = [sha256(place / "data/test/images/test0_0000.nii.gz"), sha256(labels / "test0.nii.gz")]
    write_json(of_file, json.loads(of_file.read_text()) | {"files_sha256": files}, overwrite=True)
    doubles.tested.clear()
    assert run(place, run_cli, more=more) == result and doubles.tested == []
    shutil.copy(labels / "test1.nii.gz", labels / "test0.nii.gz")
    assert run(place, run_cli, more=more) == result and doubles.tested == ["mine-r2-m1@1"]


@pytest.mark.parametrize("role", ["labelled", "unlabelled", "validation"])
def test_a_test_case_that_is_learned_from_is_refused_before_anything_is_trained(
    place: Path, doubles: Doubles, run_cli, role: str
) -> None:
    data = place / "data"
    shutil.copy(data / role / "images" / f"{role}0_0000.nii.gz", data / "test" / "images" / "test1_0000.nii.gz")
    outcome = run_cli("selftrain", "run", write_config(place, more='[test]\ncases = ["data/test"]\n').name)
    assert outcome.code == 3 and f"stores/{role}: holds the test case 'test1'" in outcome.stderr
    assert outcome.stderr.strip().count("\n") <= 3 and doubles.plans == []


def test_pseudo_labels_that_changed_within_a_round_are_refused(config: SelftrainConfig) -> None:
    place = Workplace(config.folder)
    ledger = place.folder / "round-1" / "ledger.jsonl"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("one\n")
    labels = RoundLabels(folder="round-1", ledger_sha256=sha256(ledger), threshold=0.9, kept=1, rejected=0, failed=0)
    models = (TrainedModel(checkpoint="a@1"), TrainedModel(checkpoint="b@1"))
    plan = plan_model(config, place, RoundState(number=1, models=models, labels=labels), 1)
    ledger.write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"ledger\.jsonl: is missing or has changed since round-1 was labelled"):
        train_model(plan, config, place, Registry.default(), torch.device("cpu"))
    ledger.unlink()
    with pytest.raises(InputError, match="is missing or has changed"):
        train_model(plan, config, place, Registry.default(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("models = 2", 'models = 2\nfirst = ["starter-reference", "starter-propagation"]'), "a reference one is"),
        (("threshold = 0.0", 'threshold = 0.0\npropagation_model = "starter-reference"'), "a propagation one is"),
    ],
)
def test_a_checkpoint_of_the_wrong_kind_is_missed_before_anything_is_done(
    place: Path, run_cli, change: tuple[str, str], message: str
) -> None:
    outcome = run_cli("selftrain", "run", write_config(place, change).name)
    assert outcome.code == 5 and message in outcome.stderr
    assert not (place / "rounds" / "stores").exists()


def test_status_of_a_folder_without_a_run_and_of_a_damaged_one(place: Path, run_cli) -> None:
    missing = run_cli("selftrain", "status")
    assert missing.code == 3 and "selftrain: holds no rounds.json" in missing.stderr
    (place / "selftrain").mkdir()
    (place / "selftrain" / "rounds.json").write_text('{"format": "flarekit-selftrain", "version": 9}')
    damaged = run_cli("selftrain", "status")
    assert damaged.code == 3 and "unknown format flarekit-selftrain version 9" in damaged.stderr


def with_predictions(*folders: str) -> tuple[str, str]:
    return "threshold = 0.0", f"threshold = 0.0\npredictions = [{', '.join(map(repr, folders))}]"


def test_a_table_that_is_spelt_wrong_is_told_what_tables_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown settings \['trian'\]; known are .*'rounds', 'test', 'train'\]"):
        read_selftrain(write_config(tmp_path, ("[train]", "[trian]")))


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (('["data/unlabelled"]', '["data/unlabeled"]'), 3, "data/unlabeled: does not exist"),
        (("models = 2", 'models = 2\nfirst = ["a@1", "b@1"]'), 5, "unknown checkpoint 'a@1'"),
        (with_predictions("nowhere"), 3, "nowhere: is no folder of label maps"),
        (with_predictions("theirs"), 2, "'theirs' have no organ 'bar'"),
        (with_predictions("x=theirs", "x=data"), 2, "label maps that vote have a name each"),
        (with_predictions("round-1=data"), 2, "and none a round's, got round-1"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_done_and_may_be_put_right(
    place: Path, doubles: Doubles, run_cli, wrong: tuple[str, str], code: int, said: str
) -> None:
    (place / "theirs").mkdir()
    labels = {"background": 0} | {name: number for number, name in enumerate(ORGANS.names[:-1], start=1)}
    write_json(place / "theirs" / "dataset.json", {"labels": labels})
    outcome = run_cli("selftrain", "run", write_config(place, wrong).name)
    assert outcome.code == code and said in outcome.stderr and outcome.stderr.count("\n") == 1, outcome.stderr
    assert not (place / "rounds" / "stores").exists()
    assert run(place, run_cli)["step"] == "done"


def test_other_organs_than_the_labelled_cases_have_are_found_before_anything_is_done(place: Path, run_cli) -> None:
    strange = {"labels": {"background": 0, "left_blob": 1, "right_blob": 2, "rod": 5}}
    (place / "data" / "test" / "dataset.json").write_text(json.dumps(strange))
    publish_tiny("one", labels=ORGANS)
    publish_tiny("two")
    first = [("models = 2", 'models = 2\nfirst = ["one@1", "two@1"]')]
    test = '[test]\ncases = ["data/test"]\n'
    for changes, more, said in (([], test, "data/test: has other organs"), (first, "", "two@1: has other organs")):
        outcome = run_cli("selftrain", "run", write_config(place, *changes, more=more).name)
        assert outcome.code == 2 and said in outcome.stderr and outcome.stderr.count("\n") == 1, outcome.stderr
        assert not (place / "rounds" / "stores").exists()


def test_rounds_that_are_compared_keep_the_rejected_masks_for_it(place: Path) -> None:
    config = read_selftrain(write_config(place))
    unstable = replace(config, consensus=replace(config.consensus, score="instability"))
    for previous in (None, object()):
        assert _consensus(unstable, previous).write_rejected  # type: ignore[arg-type]
    assert not _consensus(config, None).write_rejected


def test_damaged_scores_are_named(place: Path, doubles: Doubles, run_cli) -> None:
    run(place, run_cli, more='[test]\ncases = ["data/test"]\n')
    (place / "rounds" / "test" / "mine-r1-m1@1" / "test0.json").write_text('{"case": "test0", "dice": null}')
    outcome = run_cli("selftrain", "status", "rounds")
    assert outcome.code == 3 and "test0.json: is no case's scores" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
