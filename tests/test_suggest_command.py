"""`flarekit suggest` and `flarekit evaluate suggest` from files, with checkpoints of random weights: the flow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
import pytest
import tiny_networks
import torch

from flarekit.checkpoints import Card, Registry
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.labels import FLARE22
from flarekit.models import STCN, build

AFFINE = np.array([[0, 0, -3.0, 5], [0, 4.0, 0, -7], [-10.0, 0, 0, 200], [0, 0, 0, 1]])  # codes I, A, L: from the head
SHAPE = (15, 22, 26)  # slices from head to feet, rows from back to front, columns to the left
PREPROCESSING = PreprocessingConfig(spacing_mm=4.0, canvas=32)


@dataclass(frozen=True)
class Files:
    """A CT, its true labels, and the label map that was drawn on two of its slices."""

    image: Path
    truth: Path
    drawn: Path


@pytest.fixture
def case(tmp_path: Path) -> Files:
    torch.manual_seed(0)
    registry = Registry.default()
    card = Card(
        kind="propagation",
        name="tiny",
        networks={"stcn": tiny_networks.STCN},
        preprocessing=PREPROCESSING,
        labels=FLARE22,
    )
    registry.publish(card, {"stcn": STCN(tiny_networks.STCN)})
    pair = {
        "transunet": tiny_networks.TRANSUNET,
        "deeplabv3plus": tiny_networks.DEEPLAB,
    }
    card = Card(kind="reference", name="pair", networks=pair, preprocessing=PREPROCESSING, labels=FLARE22)
    registry.publish(card, {name: build(config) for name, config in pair.items()})
    ids = np.zeros(SHAPE, dtype=np.uint8)
    ids[3:12, 5:16, 6:15] = 1
    ids[5:8, 5:9, 17:22] = 3
    hu = np.where(ids > 0, 80, -60).astype(np.int16) + np.random.default_rng(0).integers(-20, 20, SHAPE, dtype=np.int16)
    drawn = np.zeros_like(ids)
    drawn[[4, 6]] = ids[[4, 6]]
    drawn[6, 20, 3] = 40
    files = Files(tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", tmp_path / "drawn.nii.gz")
    for path, array in zip((files.image, files.truth, files.drawn), (hu, ids, drawn), strict=True):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return files


MODELS = ("--model", "tiny", "--device", "cpu", "--reference")


def test_suggestions_name_slice_position_and_reason(case: Files, run_cli, tmp_path: Path) -> None:
    picture = tmp_path / "next.png"
    outcome = run_cli(
        "suggest",
        case.image,
        case.drawn,
        "-n",
        2,
        "--picture",
        picture,
        *MODELS,
        "none",
        "--organs",
        "1,3,40",
        "--json",
    )
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["annotated"] == [4, 6] and len(report["curve"]) == 15
    assert report["curve"][4] == report["curve"][6] == 0
    first, second = report["suggestions"]
    assert first["slice"] not in (4, 6) and abs(first["slice"] - second["slice"]) > 1
    assert first["mm"] == pytest.approx(200 - 10 * first["slice"])
    assert report["curve"][first["slice"]] == max(report["curve"]) == pytest.approx(first["gain"], abs=1e-4)
    assert {organ["name"] for organ in first["organs"]} <= {"liver", "spleen", "label 40"}
    assert all(organ["distance_mm"] > 0 and organ["name"].split("_")[0] in first["why"] for organ in first["organs"])
    assert matplotlib.image.imread(picture).std() > 0.05
    assert str(tmp_path) not in outcome.stdout


def test_the_first_slice_needs_no_drawing(case: Files, run_cli) -> None:
    outcome = run_cli("suggest", case.image, *MODELS, "pair", "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["annotated"] == [] and len(report["suggestions"]) == 3
    alone = run_cli("suggest", case.image, *MODELS, "none")
    assert alone.code == 0 and "far from annotated slices" in alone.stdout


def test_a_slice_that_shows_some_organs_only_may_come_again(case: Files, run_cli, tmp_path: Path) -> None:
    carried, mask = np.zeros(SHAPE, dtype=np.uint8), tmp_path / "mask.nii.gz"
    carried[2:8, 5:9, 17:22] = 3
    nibabel.save(nibabel.Nifti1Image(carried, AFFINE), mask)
    call = ("suggest", case.image, case.drawn, "--organs", "1,3", "--mask", mask, *MODELS, "none", "--json")
    report = json.loads(run_cli(*call, "--partial").stdout)
    assert report["annotated"] == [4, 6]
    assert report["curve"][4] > 0  # drawn without the spleen, which slice 6 shows
    assert json.loads(run_cli(*call).stdout)["curve"][4] == 0


def test_a_mask_that_was_propagated_says_where_organs_are(case: Files, run_cli, tmp_path: Path) -> None:
    low = np.zeros(SHAPE, dtype=np.uint8)
    low[4:15, 2:10, 2:10] = 1
    mask = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(low, AFFINE), mask)
    call = ("suggest", case.image, case.drawn, "--mask", mask, "--organs", "liver", "-n", 1, *MODELS, "none", "--json")
    report = json.loads(run_cli(*call).stdout)
    assert report["suggestions"][0]["slice"] > 8


def test_what_makes_no_sense_is_refused_before_any_work(case: Files, run_cli, tmp_path: Path) -> None:
    assert run_cli("suggest", case.image, "--slices", "1", *MODELS, "none").code == 2
    assert run_cli("suggest", case.image, "--mask", case.truth, *MODELS, "none").code == 2
    assert run_cli("suggest", case.image, "--partial", *MODELS, "none").code == 2
    assert run_cli("suggest", case.image, "--picture", tmp_path / "a.jpg", *MODELS, "none").code == 4
    (tmp_path / "b.png").write_text("mine")
    assert run_cli("suggest", case.image, "--picture", tmp_path / "b.png", *MODELS, "none").code == 4
    outcome = run_cli("suggest", case.image, case.drawn, "--slices", "15", *MODELS, "none")
    assert outcome.code == 2 and "slice 15 is outside the volume" in outcome.stderr


def test_a_simulated_annotator_stands_beside_even_slices(case: Files, run_cli) -> None:
    call = ("evaluate", "suggest", case.image, case.truth, "--slices", 3, *MODELS, "pair")
    outcome = run_cli(*call, "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    suggested, uniform = (report["choices"][name] for name in ("suggested", "uniform"))
    assert uniform["slices"] == [12, 7, 2]
    assert len(set(suggested["slices"])) == 3
    assert list(suggested["organs"]) == ["liver", "spleen"]
    assert 0 <= uniform["mean"] <= 1
    assert run_cli(*call[:5], 15, *MODELS, "none").code == 3


def test_cases_of_folders_are_averaged(case: Files, run_cli, tmp_path: Path) -> None:
    for name, source in (("images", case.image), ("labels", case.truth)):
        (tmp_path / name).mkdir()
        for copy in ("a", "b"):
            (tmp_path / name / f"{copy}.nii.gz").write_bytes(source.read_bytes())
    folders = tmp_path / "images", tmp_path / "labels"
    report = json.loads(run_cli("evaluate", "suggest", *folders, "--slices", 2, *MODELS, "none", "--json").stdout)
    assert [entry["case"] for entry in report["cases"]] == ["a", "b"]
    assert report["mean"]["uniform"] == report["cases"][0]["choices"]["uniform"]["mean"]
    plot = tmp_path / "dice.png"
    call = (
        "evaluate",
        "propagation",
        *folders,
        "--every",
        "3,5",
        "--offsets",
        1,
        "--plot",
        plot,
        *MODELS[:4],
        "--json",
    )
    report = json.loads(run_cli(*call).stdout)
    assert [entry["annotated"] for entry in report["results"]] == [5, 3]
    assert report["results"][0]["copy"]["mean"] == report["cases"][1]["results"][0]["copy"]["mean"]
    assert matplotlib.image.imread(plot).std() > 0.05
    assert run_cli(*call).code == 4
