"""`flarekit train` from the command line."""

from __future__ import annotations

import json
import os
import re
import signal

import nibabel as nib
import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from training_setup import Workplace, workplace
from training_stores import write_store

from flarekit.checkpoints import Registry
from flarekit.cli.train import app as train_app
from flarekit.config import toml
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


def test_the_confidence_that_pseudo_labels_need_is_recorded(workplace: Workplace, run_cli) -> None:
    unlabelled = workplace.folder / "unlabelled"
    outcome = run_cli("train", "cps", *options(workplace, "sure", "--unlabelled", unlabelled, "--confidence", 0.7))
    assert outcome.code == 0, outcome.stderr
    assert Registry.default().card("sure").training["training"]["confidence"] == 0.7


@pytest.mark.parametrize("command", ["cps", "supervised"])
def test_one_slice_is_too_few_for_deeplab_and_enough_for_transunet(workplace: Workplace, run_cli, command: str) -> None:
    lone = options(workplace, "lone", "--labelled-batch", 1, *(["--unlabelled-batch", 0] if command == "cps" else []))
    outcome = run_cli("train", command, *lone, *(["--network", "deeplabv3plus"] if command == "supervised" else []))
    assert outcome.code == 2 and "two slices a batch" in " ".join(outcome.stderr.split())
    assert not (workplace.folder / "runs" / "lone").exists()
    if command == "supervised":
        assert run_cli("train", command, *lone, "--network", "transunet").code == 0


def test_an_organ_left_out_is_neither_followed_nor_scored_and_the_card_says_so(workplace: Workplace, run_cli) -> None:
    command = options(workplace, "blind", "--clips", 1, "--leave-out", "left blob")
    outcome = run_cli("train", "stcn", *command)
    assert outcome.code == 0, outcome.stderr
    card = Registry.default().card("blind")
    assert set(card.metrics["organs"]) == {"bar"}
    assert card.training["training"]["leave_out"] == ["left blob"]
    written = toml.read(workplace.folder / "runs" / "blind" / "config.toml")
    assert written["training"]["leave_out"] == ["left blob"]


def test_slices_with_pseudo_labels_need_pseudo_labels(workplace: Workplace, run_cli) -> None:
    command = options(workplace, "apart", "--unlabelled", workplace.folder / "unlabelled")
    outcome = run_cli("train", "cps", *command, "--pseudo-batch", 1)
    assert outcome.code == 2 and outcome.stderr.count("\n") == 1
    assert "--pseudo-batch needs --pseudo-labels" in outcome.stderr
    assert not (workplace.folder / "runs").exists()
    settings = workplace.folder / "settings.toml"  # as of a run that stands beside one with pseudo-labels
    settings.write_text("[training]\npseudo_batch = 1\n")
    outcome = run_cli("train", "cps", *command, "--config", settings)
    assert outcome.code == 0, outcome.stderr


def test_not_every_organ_can_be_left_out(workplace: Workplace, run_cli) -> None:
    outcome = run_cli("train", "stcn", *options(workplace, "blind", "--leave-out", "left blob,right blob,bar"))
    assert outcome.code == 2 and "--leave-out leaves no organ to follow" in outcome.stderr
    assert not (workplace.folder / "runs" / "blind").exists()


def test_dice_is_unknown_where_no_validation_case_shows_an_organ_that_is_followed(
    workplace: Workplace, run_cli
) -> None:
    outcome = run_cli("train", "stcn", *options(workplace, "blind", "--clips", 1, "--leave-out", "left blob,bar"))
    assert outcome.code == 0, outcome.stderr
    assert "validation Dice unknown, as no case shows an organ that is scored" in outcome.stderr
    card = Registry.default().card("blind")
    assert card.metrics["dice"] is None and card.metrics["organs"] == {} and card.metrics["iteration"] == 2
    assert run_cli("models", "show", "blind").code == 0 and run_cli("models", "list").code == 0


def test_an_unknown_organ_cannot_be_left_out(workplace: Workplace, run_cli) -> None:
    outcome = run_cli("train", "stcn", *options(workplace, "blind", "--leave-out", "tail"))
    assert outcome.code == 2 and "unknown organ 'tail'" in outcome.stderr
    assert not (workplace.folder / "runs" / "blind").exists()


def test_supervised_trains_one_network_that_segments(workplace: Workplace, run_cli) -> None:
    outcome = run_cli("train", "supervised", *options(workplace, "alone", "--network", "deeplabv3plus", "--json"))
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["kind"] == "reference"
    assert list(Registry.default().card("alone").networks) == ["deeplabv3plus"]
    ct, mask = (workplace.folder / f"{name}.nii.gz" for name in ("ct", "mask"))
    hu = np.random.default_rng(0).integers(-100, 200, (40, 36, 5), dtype=np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([1.6, 1.6, 4.0, 1.0])), ct)
    segmented = run_cli("segment", ct, "--model", "alone", "--no-propagation", "-o", mask, "--device", "cpu", "--force")
    assert segmented.code == 0, segmented.stderr
    assert nib.load(mask).shape == (40, 36, 5)


def test_a_run_without_validation_cases_prints_no_empty_table(workplace: Workplace, run_cli) -> None:
    write_store(workplace.folder / "one", [(6, 58, 62)])
    command = ["train", "supervised", *options(workplace, "blind")]
    start = command.index("--validation")
    command[start : start + 2] = []
    command[command.index("--labelled") + 1] = workplace.folder / "one"
    outcome = run_cli(*command)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.strip() == "Published blind@1."
    assert "No case to validate on" in outcome.stderr


def test_the_copy_of_the_settings_is_a_config_and_options_win_over_it(workplace: Workplace, run_cli) -> None:
    more = ("--smoothing", 2, "--augmentation", "affine", "--mirror", "swap", "--seed", 3, "--clip-norm", 5)
    assert run_cli("train", "supervised", *options(workplace, "first", *more)).code == 0
    written = workplace.folder / "runs" / "first" / "config.toml"
    again = run_cli("train", "supervised", "--config", written, "--name", "second", "--iterations", 3)
    assert again.code == 0, again.stderr
    first, second = (toml.read(workplace.folder / "runs" / name / "config.toml") for name in ("first", "second"))
    assert second["training"]["augmentation"]["noise_hu"] == 15.0
    assert written.read_text().startswith("# Not set: windows, init, encoder_weights, stores.fold, training.loop.w")
    assert (first["name"], second["name"]) == ("first", "second")
    assert (first["training"]["loop"].pop("iterations"), second["training"]["loop"].pop("iterations")) == (2, 3)
    assert first | {"name": "second"} == second
    resumed = run_cli("train", "supervised", "--config", written, "--resume")
    assert resumed.code == 0 and "already finished" in resumed.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training.optimiser]\nlr = -1", "lr is positive, got -1"),
        ("[training.loop]\nsteps = 5", "unknown settings ['training.loop.steps']"),
        ("[training]\naugmentation = 'wild'", "augmentation is one of paper, affine, scanners, none, got 'wild'"),
        ("[training]\nlast_gap_mm = 'much'", "training.last_gap_mm is a float, got 'much'"),
        ("[stores]\nfold = '6/5'", "fold is K/N"),
        ("arch = 'huge'", "arch is one of"),
        ("colour = 'red'", "unknown settings ['colour']"),
        ("command = 'cps'", "is of `train cps`"),
        ("format = 1", "has format 1"),
        ("lr =", "is not valid TOML"),
    ],
)
def test_errors_of_a_config_name_file_and_key(workplace: Workplace, run_cli, text: str, message: str) -> None:
    file = workplace.folder / "run.toml"
    file.write_text(text)
    outcome = run_cli("train", "stcn", *options(workplace, "run", "--config", file))
    assert outcome.code == 3, outcome.stderr
    assert outcome.stderr.startswith(f"{file}: ") or f"{file}: " in outcome.stderr
    assert message in outcome.stderr and outcome.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["--name", "--labelled"])
def test_what_neither_options_nor_file_say_is_named(workplace: Workplace, run_cli, missing: str) -> None:
    command = ["train", "cps", *options(workplace, "run")]
    start = command.index(missing)
    outcome = run_cli(*command[:start], *command[start + 2 :])
    assert outcome.code == 2 and f"{missing} is missing" in outcome.stderr


def test_every_training_explains_its_options_with_their_source(run_cli) -> None:
    for command in ("supervised", "cps", "stcn"):
        explained = " ".join(run_cli("train", command, "--help").stdout.split())
        assert "Example: flarekit train" in explained
        for word in ("paper", "tables 2 and 3", "(ours)"):
            assert word in explained


def test_bf16_is_refused_on_a_cpu_without_instructions_for_it(
    workplace: Workplace, run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    command = ["train", "stcn", *options(workplace, "run", "--clips", 1, "--precision", "bf16")]
    outcome = run_cli(*command)
    assert outcome.code == 2 and outcome.stderr.count("\n") == 1
    assert "bf16 is far slower than fp32 on this CPU, which has neither AVX512-BF16 nor AMX" in outcome.stderr
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    outcome = run_cli(*command)
    assert outcome.code == 0, outcome.stderr
    weights = load_file(workplace.folder / "runs" / "run" / "last.safetensors")
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}


def test_every_option_that_decides_what_is_learned_names_its_source() -> None:
    neither = {"config", "name", "runs", "resume", "tensorboard", "device", "json", "workers"}  # where and when
    neither |= {"labelled", "unlabelled", "challenge"}
    source = re.compile(r"paper|section|table|ours|AdamW|SSL4MIS|FixMatch|STCN")
    for name, command in typer.main.get_command(train_app).commands.items():
        unsaid = [option.name for option in command.params if not source.search(option.help or "")]
        assert set(unsaid) <= neither, name


def test_a_run_that_was_told_to_stop_ends_with_130_and_resumes(
    workplace: Workplace, run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop_module.Trainer._step

    def stopping(trainer: loop_module.Trainer, batches: list) -> dict:
        os.kill(os.getpid(), signal.SIGINT)
        return step(trainer, batches)

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
        (("--arch", "huge"), 2, "arch is one of paper, "),
        (("--crop", 100), 2, "crop is a multiple of 32 pixels, got 100"),
        (("--lr", -1), 2, "lr is positive, got -1"),
        (("--schedule", "linear"), 2, "schedule is one of"),
        (("--augmentation", "wild"), 2, "augmentation is one of paper, affine, scanners, none, got 'wild'"),
        (("--precision", "fp16"), 2, "fp16 is far slower than fp32 on a CPU"),
        (("--precision", "half"), 2, "precision is one of fp32, bf16, fp16, got 'half'"),
        (("--fold", "1/2"), 2, "fold and validation both say what to validate on"),
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
