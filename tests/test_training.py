"""Runs of both trainings: published, resumed exactly, refused where they must be."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from training_setup import CPS, STCN, SUPERVISED, Workplace, workplace
from training_stores import write_store

from flarekit.checkpoints import Card, Registry, save_state
from flarekit.config import toml
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.config.run import RunSettings, Stores
from flarekit.config.training import CPSConfig, LoopConfig, OptimiserConfig, STCNTrainingConfig
from flarekit.data.datasets import CPSBatch, CPSBatches
from flarekit.data.network_case import NetworkCase
from flarekit.errors import CheckpointError, InputError, OutputError, TrainingError, UsageError
from flarekit.training import loop as loop_module
from flarekit.training import tasks as tasks_module
from flarekit.training.cps import CPSObjective
from flarekit.training.data import gather
from flarekit.training.initial import random_networks
from flarekit.training.non_finite import refuse_loss
from flarekit.training.run_folder import RunFolder
from flarekit.training.runs import train as run_training
from flarekit.training.schedule import bootstrap_share, consistency_weight, learning_rate
from flarekit.training.tasks import TrainingConfig
from flarekit.training.validation import Score

__all__ = ["workplace"]


def lines(folder: Path, kind: str) -> list[dict]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def without_times(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in ("elapsed_s", "waited_share")} for r in records]


def train(settings: RunSettings, config: TrainingConfig, *, resume: bool = False) -> Card:
    return run_training(settings, config, Registry.default(), resume=resume)


def stop_after(iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends this process SIGTERM when the run has taken so many steps."""
    step = loop_module.Trainer._step

    def stopping(trainer: loop_module.Trainer, batches: list) -> dict:
        record = step(trainer, batches)
        if record["iteration"] == iterations:
            os.kill(os.getpid(), signal.SIGTERM)
        return record

    monkeypatch.setattr(loop_module.Trainer, "_step", stopping)


def test_the_papers_learning_rate_halves_at_40000_and_45000() -> None:
    at = {i: learning_rate(OptimiserConfig(), i, 50_000) for i in (0, 39_999, 40_000, 44_999, 45_000, 49_999)}
    assert list(at.values()) == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5])


def test_cosine_and_poly_start_high_and_end_at_nothing() -> None:
    for schedule in ("cosine", "poly"):
        config = OptimiserConfig(lr=1.0, schedule=schedule)
        rates = [learning_rate(config, i, 100) for i in range(101)]
        assert rates[0] == 1.0 and rates[100] == pytest.approx(0.0) and rates == sorted(rates, reverse=True)


def test_warmup_grows_linearly() -> None:
    config = OptimiserConfig(lr=1.0, warmup=4)
    assert [learning_rate(config, i, 100) for i in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_the_consistency_weight_reaches_its_value_by_iteration() -> None:
    config = CPSConfig(consistency=0.1, loop=LoopConfig(iterations=1000))
    assert consistency_weight(config, 0) == pytest.approx(0.1 * 2.718281828**-5)
    assert consistency_weight(config, 400) == consistency_weight(config, 999) == pytest.approx(0.1)


def test_the_ramp_of_the_consistency_weight_may_be_given_in_iterations() -> None:
    config = CPSConfig(consistency=2.0, rampup=10, loop=LoopConfig(iterations=1000))
    assert consistency_weight(config, 5) == pytest.approx(2.0 * 2.718281828**-1.25)
    assert consistency_weight(config, 10) == consistency_weight(replace(config, rampup=0), 0) == 2.0
    with pytest.raises(ValueError, match="rampup is at least 0, got -1"):
        CPSConfig(rampup=-1)


def test_bootstrapping_shrinks_between_its_two_iterations() -> None:
    config = STCNTrainingConfig(
        bootstrap_share=0.2, bootstrap_from=0.1, bootstrap_until=0.5, loop=LoopConfig(iterations=100)
    )
    assert [bootstrap_share(config, i) for i in (0, 10, 30, 50, 99)] == pytest.approx([1, 1, 0.6, 0.2, 0.2])


@pytest.mark.parametrize(("config", "kind"), [(CPS, "reference"), (SUPERVISED, "reference"), (STCN, "propagation")])
def test_a_run_publishes_its_best_validation(workplace: Workplace, config, kind: str) -> None:
    card = train(workplace.settings("run"), config)
    folder = workplace.folder / "runs" / "run"
    scores = lines(folder, "validation")
    assert [score["iteration"] for score in scores] == [2, 4, 6]
    assert card.metrics["dice"] == max(score["dice"] for score in scores)
    loaded = Registry.default().load("run@1", kind=kind)
    best, last = (load_file(folder / f"{which}.safetensors") for which in ("best", "last"))
    for name, network in loaded.networks.items():
        assert all(torch.equal(tensor, best[f"{name}.{key}"]) for key, tensor in network.state_dict().items())
    for key, tensor in torch.load(folder / "state.pt", weights_only=True)["objective"].items():
        alone = key.replace("network.", f"{next(iter(card.networks))}.", 1)  # of an objective of one network
        assert torch.equal(tensor, last[key.removeprefix("networks.") if key.startswith("networks.") else alone])
    assert toml.from_dict(type(config), toml.read(folder / "config.toml")["training"]) == config
    assert str(workplace.folder) not in json.dumps(card.to_json())


@pytest.mark.parametrize("config", [CPS, replace(CPS, confidence=0.4), STCN])
def test_a_run_stopped_and_resumed_equals_one_that_was_not(
    workplace: Workplace, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(workplace.settings("whole"), config)
    with monkeypatch.context() as patch:
        stop_after(4, patch)  # between two regular states
        with pytest.raises(KeyboardInterrupt):
            train(workplace.settings("halves"), config)
    train(workplace.settings("halves"), config, resume=True)
    whole, halves = (workplace.folder / "runs" / name for name in ("whole", "halves"))
    for kind in ("train", "validation"):
        assert without_times(lines(whole, kind)) == without_times(lines(halves, kind))
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (whole, halves)]
    assert_equal(*states)


def test_a_run_killed_outright_goes_on_from_its_last_state(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(workplace.settings("whole"), CPS)
    with monkeypatch.context() as patch:

        def broken(trainer: loop_module.Trainer, batches: list, step=loop_module.Trainer._step) -> dict:
            if trainer.progress.iteration == 5:
                raise MemoryError
            return step(trainer, batches)

        patch.setattr(loop_module.Trainer, "_step", broken)
        with pytest.raises(MemoryError):
            train(workplace.settings("killed"), CPS)
    train(workplace.settings("killed"), CPS, resume=True)
    whole, killed = (workplace.folder / "runs" / name for name in ("whole", "killed"))
    assert without_times(lines(whole, "train")) == without_times(lines(killed, "train"))
    assert_equal(*(torch.load(folder / "state.pt", weights_only=True) for folder in (whole, killed)))


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert isinstance(other, list) and len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor) and torch.equal(one, other)
    else:
        assert one == other


def test_a_run_folder_is_not_overwritten(workplace: Workplace) -> None:
    (workplace.folder / "runs" / "run").mkdir(parents=True)
    with pytest.raises(OutputError, match="--resume"):
        train(workplace.settings("run"), CPS)


def test_resuming_with_other_settings_names_them(workplace: Workplace) -> None:
    RunFolder(workplace.folder / "runs" / "run").begin({"training": {"lr": 0.1, "loop": {"workers": 2}}})
    with pytest.raises(UsageError, match=r"training\.lr was 0\.1 and is 0\.2"):
        RunFolder(workplace.folder / "runs" / "run").require_same({"training": {"lr": 0.2, "loop": {}}})


def test_where_a_run_computes_and_how_often_it_saves_may_change(workplace: Workplace) -> None:
    folder = RunFolder(workplace.folder / "runs" / "run")
    loop = {"workers": 2, "save_every": 500, "seed": 1}
    folder.begin({"device": "cpu", "stores": {"labelled": ["here"], "fold": "1/3"}, "training": {"loop": loop}})
    moved = {"labelled": ["there"], "fold": "1/3"}
    folder.require_same({"device": "cuda", "stores": moved, "training": {"loop": {"save_every": 5, "seed": 1}}})
    with pytest.raises(UsageError, match=r"settings: stores\.fold was '1/3' and is '2/3'\. Resume"):
        folder.require_same({"stores": moved | {"fold": "2/3"}, "training": {"loop": loop}})


def test_a_run_that_is_older_than_a_setting_is_resumed_with_its_default(workplace: Workplace) -> None:
    train(workplace.settings("run"), CPS)
    path = workplace.folder / "runs" / "run" / "config.toml"
    path.write_text(path.read_text().replace("confidence = 0.0\n", ""))
    assert train(workplace.settings("run"), CPS, resume=True).reference == "run@1"
    with pytest.raises(UsageError, match=r"training\.confidence was 0\.0 and is 0\.5\. Resume"):
        train(workplace.settings("run"), replace(CPS, confidence=0.5), resume=True)


def test_a_finished_run_that_is_resumed_is_left_as_it_is(
    workplace: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="flarekit")
    first = train(workplace.settings("run"), SUPERVISED)
    metrics = (workplace.folder / "runs" / "run" / "metrics.jsonl").read_text()
    assert train(workplace.settings("run"), SUPERVISED, resume=True) == first
    assert "already finished: it was published as run@1" in caplog.text
    assert (workplace.folder / "runs" / "run" / "metrics.jsonl").read_text() == metrics
    with pytest.raises(UsageError, match=r"training\.loop\.iterations was 6 and is 8"):
        longer = replace(SUPERVISED, loop=replace(SUPERVISED.loop, iterations=8))
        train(workplace.settings("run"), longer, resume=True)


def test_resuming_what_never_started_is_an_error(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="config.toml"):
        train(workplace.settings("nothing"), CPS, resume=True)


class Fragile(nn.Module):
    """A network whose logits are not a number on images that are brighter than `limit` somewhere."""

    def __init__(self, network: nn.Module, limit: float) -> None:
        super().__init__()
        self.network, self.limit = network, limit

    def forward(self, images: Tensor, positions: Tensor) -> Tensor:
        broken = images.amax((1, 2, 3), keepdim=True) > self.limit
        return self.network(images, positions).masked_fill(broken, torch.nan)


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_a_loss_that_is_not_finite_names_the_slice_it_comes_from(workplace: Workplace, kind: str) -> None:
    stores = workplace.settings("run").stores
    data = gather(stores, PREPROCESSING["tiny"], seed=0)
    batch = CPSBatches(data.labelled, data.unlabelled, data.labels, replace(CPS, unlabelled_batch=2))[0]
    images, other = (batch.images, batch.unlabelled) if kind == "labelled" else (batch.unlabelled, batch.images)
    images.clamp_(max=0.5)
    other.clamp_(max=0.5)
    images[1, 0, 5, 7] = 1.0
    networks = random_networks("reference", "tiny", classes=data.labels.classes, seed=0).networks
    objective = CPSObjective({name: Fragile(network, 0.9) for name, network in networks.items()}, CPS)
    assert not objective(batch, 0)[0].isfinite()
    harmless = CPSBatches(data.labelled, data.unlabelled, data.labels, CPS)[1]
    harmless.images.clamp_(max=0.5)
    harmless.unlabelled.clamp_(max=0.5)
    name = batch.names[1 if kind == "labelled" else 3]
    with pytest.raises(TrainingError, match=f"the loss is nan in iteration 1, on {name}\\. Look"):
        refuse_loss(float("nan"), 0, objective, [harmless, batch], Accelerator(cpu=True))


def test_a_run_stops_at_a_loss_that_is_not_finite(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(objective: CPSObjective, batch: CPSBatch, iteration: int, forward=CPSObjective.forward):
        loss, parts = forward(objective, batch, iteration)
        return loss * float("nan" if iteration == 2 else 1), parts

    monkeypatch.setattr(CPSObjective, "forward", diverge)
    with pytest.raises(TrainingError, match=r"the loss is nan in iteration 3, on case0\d slice \d+; .*lower --lr"):
        train(workplace.settings("run"), CPS)
    assert len(lines(workplace.folder / "runs" / "run", "train")) == 2


def test_accumulated_batches_teach_what_one_larger_batch_teaches(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where normalisation is frozen and nothing drops out: both look at the images of one batch."""
    monkeypatch.setattr(nn.BatchNorm2d, "train", lambda norm, mode=True: nn.Module.train(norm, False))
    monkeypatch.setattr(nn.Dropout, "train", lambda dropout, mode=True: nn.Module.train(dropout, False))
    whole = replace(CPS, labelled_batch=4, unlabelled_batch=2)
    parts = replace(CPS, loop=replace(CPS.loop, accumulate=2))
    for name, config in (("whole", whole), ("parts", parts)):
        train(workplace.settings(name), config)
    first, second = (lines(workplace.folder / "runs" / name, "train") for name in ("whole", "parts"))
    assert [line["loss"] for line in first] == pytest.approx([line["loss"] for line in second], abs=1e-5)
    states = (RunFolder(workplace.folder / "runs" / name).last_state() for name in ("whole", "parts"))
    for one, other in zip(*(state["optimiser"]["state"].values() for state in states), strict=True):
        assert torch.allclose(one["exp_avg"], other["exp_avg"], atol=1e-4)  # AdamW hides the gradients' length


@pytest.mark.parametrize(
    "foreign",
    [{}, {"format": 1}, {"format": 2}, {"format": 2, "objective": {"weight": torch.zeros(2)}}],
)
def test_a_state_that_is_not_this_runs_is_named(workplace: Workplace, foreign: dict) -> None:
    folder = RunFolder(workplace.folder / "runs" / "run")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(workplace.settings("run"), SUPERVISED)
    metrics = folder.metrics.read_text()
    save_state(folder.state, foreign)
    with pytest.raises(CheckpointError, match=r"state\.pt: is not a state of this run"):
        train(workplace.settings("run"), SUPERVISED, resume=True)
    assert folder.metrics.read_text() == metrics


def test_a_full_disk_leaves_the_last_state(workplace: Workplace, full_disk) -> None:
    folder = RunFolder(workplace.folder / "runs" / "run")
    folder.begin({})
    folder.save_state({"weights": torch.ones(10)})
    with full_disk(2000), pytest.raises(OutputError, match=r"state\.pt: no space left"):
        folder.save_state({"weights": torch.zeros(10_000)})
    assert torch.equal(folder.last_state()["weights"], torch.ones(10))
    assert not list(folder.path.glob(".tmp*"))


def test_folds_share_the_labelled_cases_among_them_whatever_the_seed(workplace: Workplace) -> None:
    path = write_store(workplace.folder / "many", [(4, 20, 24)] * 7)
    held = []
    for number in (1, 2, 3):
        stores = Stores(labelled=(path,), fold=f"{number}/3")
        first, second = (gather(stores, PREPROCESSING["tiny"], seed=seed) for seed in (0, 1))
        assert names_of(first.validation) == names_of(second.validation)
        assert not set(names_of(first.validation)) & set(names_of(first.labelled))
        assert len(first.labelled) + len(first.validation) == 7
        held += names_of(first.validation)
    assert sorted(held) == sorted(set(held)) and len(held) == 7


def test_more_folds_than_cases_are_refused(workplace: Workplace) -> None:
    with pytest.raises(InputError, match="fold 1/9 needs 9 labelled CTs, there are 3"):
        gather(Stores(labelled=(workplace.folder / "labelled",), fold="1/9"), PREPROCESSING["tiny"], seed=0)


@pytest.mark.parametrize("fold", ["0/3", "4/3", "1/1", "2", "a/b", "1/3/5"])
def test_a_fold_that_cannot_be_is_named(fold: str) -> None:
    with pytest.raises(ValueError, match=f"fold is K/N .* got '{fold}'"):
        Stores(fold=fold)


def labelled_alone(workplace: Workplace) -> Stores:
    return Stores(labelled=(workplace.folder / "labelled",))


def test_unlabelled_slices_are_needed_unless_none_are_asked_for(workplace: Workplace) -> None:
    with pytest.raises(TrainingError, match="unlabelled"):
        train(workplace.settings("run", stores=labelled_alone(workplace)), CPS)
    assert not (workplace.folder / "runs").exists()


def test_labels_are_needed(workplace: Workplace) -> None:
    stores = Stores(labelled=(workplace.folder / "unlabelled",))
    with pytest.raises(TrainingError, match="no case has labels"):
        train(workplace.settings("run", stores=stores), STCN)


def test_fine_tuning_starts_from_the_checkpoint(workplace: Workplace) -> None:
    first = train(workplace.settings("first"), CPS)
    still = replace(CPS, optimiser=OptimiserConfig(lr=1e-12), loop=replace(CPS.loop, iterations=1, validate_every=1))
    second = train(workplace.settings("second", init="first"), still)
    assert second.parents == (first.reference,) and second.provenance.initialisation == first.reference
    registry = Registry.default()
    before, after = (registry.load(name).networks["transunet"] for name in ("first", "second"))
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_a_tenth_of_the_cases_is_held_back_without_a_validation_store(workplace: Workplace) -> None:
    write_store(workplace.folder / "many", [(4, 20, 24)] * 20)
    data = gather(Stores(labelled=(workplace.folder / "many",)), PREPROCESSING["tiny"], seed=0)
    assert (len(data.labelled), len(data.validation)) == (18, 2)
    assert not {c.name for c in data.labelled} & {c.name for c in data.validation}


def test_validation_on_a_case_that_is_trained_on_is_refused(workplace: Workplace) -> None:
    labelled = workplace.folder / "labelled"
    with pytest.raises(InputError, match="trained on"):
        gather(Stores(labelled=(labelled,), validation=labelled), PREPROCESSING["tiny"], seed=0)


def names_of(cases: Iterable[NetworkCase]) -> list[str]:
    return [case.name for case in cases]


def test_no_case_that_is_validated_on_is_learned_from(workplace: Workplace) -> None:
    labelled, validation = (workplace.folder / name for name in ("labelled", "validation"))
    tiny = PREPROCESSING["tiny"]
    chosen = gather(Stores(labelled=(labelled,), unlabelled=(validation,), validation=validation), tiny, seed=0)
    assert (names_of(chosen.unlabelled), names_of(chosen.validation)) == ([], ["case20"])
    twice = gather(Stores(labelled=(labelled, labelled), unlabelled=(labelled,)), tiny, seed=0)
    assert not set(names_of(twice.validation)) & set(names_of((*twice.labelled, *twice.unlabelled)))
    assert twice.labelled and twice.unlabelled


def test_a_validation_store_has_labels(workplace: Workplace) -> None:
    stores = Stores(labelled=(workplace.folder / "labelled",), validation=workplace.folder / "unlabelled")
    with pytest.raises(InputError, match="no labelled case"):
        gather(stores, PREPROCESSING["tiny"], seed=0)


def test_cases_made_anew_under_the_same_names_are_other_cases(workplace: Workplace) -> None:
    stores = Stores(labelled=(workplace.folder / "labelled",))
    before = gather(stores, PREPROCESSING["tiny"], seed=0).fingerprint()
    file = workplace.folder / "labelled" / "case00.h5"
    with h5py.File(file, "r+") as case:
        case.attrs["labels_sha256"] = "0" * 64
    assert gather(stores, PREPROCESSING["tiny"], seed=0).fingerprint() != before


def test_a_resumed_fine_tuning_starts_from_the_same_version(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(workplace.settings("parent"), CPS)
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            train(workplace.settings("child", init="parent"), CPS)
    shutil.rmtree(workplace.folder / "runs" / "parent")
    train(workplace.settings("parent"), CPS)
    with pytest.raises(UsageError, match="init was 'parent@1' and is 'parent@2'"):
        train(workplace.settings("child", init="parent"), CPS, resume=True)
    assert train(workplace.settings("child", init="parent@1"), CPS, resume=True).parents == ("parent@1",)


def test_of_equal_validations_the_last_is_published(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_found = Score(dice=0.0, organs={"bar": 0.0}, networks={})
    monkeypatch.setattr(tasks_module, "score_propagation", lambda *_, **__: nothing_found)
    assert train(workplace.settings("run"), STCN).metrics["iteration"] == STCN.loop.iterations
