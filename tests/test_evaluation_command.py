"""`flarekit evaluate` from files to tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny_networks
import torch

from flarekit.checkpoints import Card, Registry
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.labels import FLARE22
from flarekit.models import STCN

SHAPE = (6, 5, 4)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def liver(voxels: int) -> np.ndarray:
    ids = np.zeros(SHAPE, dtype=np.uint8)
    ids.reshape(-1)[:voxels] = 1
    return ids


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases: Dice of the liver 2 * 10 / 30 and 1; no other organ anywhere."""
    predicted, true = tmp_path / "predicted", tmp_path / "true"
    save(predicted / "FLARE22_Tr_0001.nii.gz", liver(10))
    save(true / "FLARE22_Tr_0001_0000.nii.gz", liver(20))
    save(predicted / "b.nii", liver(7))
    save(true / "b.nii.gz", liver(7))
    return predicted, true


def test_folders_are_paired_by_case_and_scored(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    outcome = run_cli("evaluate", "masks", *folders, "--json", "--csv", tmp_path / "scores.csv")
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert [case["case"] for case in result["cases"]] == ["FLARE22_Tr_0001", "b"]
    assert result["organs"]["liver"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-4)
    assert result["organs"]["spleen"] == 1
    assert result["mean"] == pytest.approx((12 + 5 / 6) / 13, abs=1e-4)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["liver"] for row in rows] == ["0.6667", "1.0000"]


def test_organs_without_labels_can_be_left_out(folders: tuple[Path, Path], run_cli) -> None:
    result = json.loads(run_cli("evaluate", "masks", *folders, "--organs", "spleen,Liver", "--json").stdout)
    assert list(result["organs"]) == ["liver", "spleen"]
    assert result["mean"] == pytest.approx((1 + 5 / 6) / 2, abs=1e-4)
    assert run_cli("evaluate", "masks", *folders, "--organs", "femur").code == 2
    assert run_cli("evaluate", "masks", *folders, "--organs", ",").code == 2


def test_an_organ_that_no_truth_shows_is_named(folders: tuple[Path, Path], run_cli) -> None:
    predicted, true = folders
    spleen = liver(20)
    spleen.reshape(-1)[-4:] = 3
    save(predicted / "FLARE22_Tr_0001.nii.gz", spleen)
    hint = "Drawn, and nowhere in the truth: spleen."
    assert hint in run_cli("evaluate", "masks", *folders).stdout
    assert hint not in run_cli("evaluate", "masks", *folders, "--organs", "liver").stdout
    save(true / "b.nii.gz", spleen)
    outcome = run_cli("evaluate", "masks", *folders)
    assert outcome.code == 0 and hint not in outcome.stdout


def test_two_files_are_one_case_in_a_table(folders: tuple[Path, Path], run_cli) -> None:
    predicted, true = folders
    outcome = run_cli("evaluate", "masks", predicted / "b.nii", true / "b.nii.gz")
    assert outcome.code == 0
    assert "liver" in outcome.stdout and "1.000" in outcome.stdout


def test_organs_come_from_dataset_json(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset.json"
    dataset.write_text('{"labels": {"background": 0, "lesion": 1}}')
    outcome = run_cli("evaluate", "masks", *folders, "--dataset", dataset, "--json")
    assert list(json.loads(outcome.stdout)["organs"]) == ["lesion"]


def test_a_missing_prediction_is_named(folders: tuple[Path, Path], run_cli) -> None:
    (folders[0] / "b.nii").unlink()
    outcome = run_cli("evaluate", "masks", *folders)
    assert outcome.code == 3
    assert "lacks 1 of 2 cases, the first is b" in outcome.stderr


def test_a_case_that_is_there_twice_is_named(folders: tuple[Path, Path], run_cli) -> None:
    save(folders[0] / "b_0000.nii.gz", liver(3))
    outcome = run_cli("evaluate", "masks", *folders)
    assert outcome.code == 3 and "is the same case as" in outcome.stderr


def test_other_grids_labels_and_paths_are_refused(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    truth = folders[1] / "b.nii.gz"
    moved = save(tmp_path / "moved.nii.gz", liver(7), np.diag([1.0, 2.0, 3.5, 1.0]))
    assert "different grids" in run_cli("evaluate", "masks", moved, truth).stderr
    strange = save(tmp_path / "strange.nii.gz", liver(7) * 99)
    assert "label ids [99]" in run_cli("evaluate", "masks", strange, truth).stderr
    assert "does not exist" in run_cli("evaluate", "masks", tmp_path / "none.nii", truth).stderr
    assert "a folder cannot" in run_cli("evaluate", "masks", folders[0], truth).stderr
    (tmp_path / "empty").mkdir()
    assert "no label map" in run_cli("evaluate", "masks", folders[0], tmp_path / "empty").stderr


def test_an_existing_csv_is_kept(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("mine")
    assert run_cli("evaluate", "masks", *folders, "--csv", scores).code == 4
    assert scores.read_text() == "mine"


@pytest.fixture
def labelled_case(tmp_path: Path) -> tuple[Path, Path]:
    """A CT of 8 slices with a liver that moves on, and a checkpoint of random weights."""
    torch.manual_seed(0)
    card = Card(
        kind="propagation",
        name="tiny",
        networks={"stcn": tiny_networks.STCN},
        preprocessing=PreprocessingConfig(canvas=32),
        labels=FLARE22,
    )
    Registry.default().publish(card, {"stcn": STCN(tiny_networks.STCN)})
    ids = np.zeros((20, 24, 8), dtype=np.uint8)
    for z in range(8):
        ids[z : z + 10, 4:14, z] = 1
    hu = np.where(ids > 0, 60, -80).astype(np.int16)
    return save(tmp_path / "ct.nii.gz", hu), save(tmp_path / "labels.nii.gz", ids)


def test_propagation_stands_beside_its_rivals(labelled_case: tuple[Path, Path], run_cli) -> None:
    outcome = run_cli(
        "evaluate", "propagation", *labelled_case, "--model", "tiny", "--every", "2,4", "--offsets", 2, "--json"
    )
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["methods"] == ["propagation", "copy", "interpolation"]
    assert [(entry["every"], entry["offsets"]) for entry in report["results"]] == [(2, 2), (4, 2)]
    near, far = report["results"]
    # The liver moves on by 1 of its 10 columns a slice, and every scored slice has a given neighbour.
    assert near["copy"]["mean"] == pytest.approx(0.9, abs=1e-4)
    assert far["copy"]["mean"] < near["copy"]["mean"]
    assert near["interpolation"]["mean"] > near["copy"]["mean"]
    assert list(far["propagation"]["organs"]) == ["liver"]


def test_the_table_of_propagation_has_a_row_for_every_n(labelled_case: tuple[Path, Path], run_cli) -> None:
    outcome = run_cli("evaluate", "propagation", *labelled_case, "--model", "tiny", "--every", 3, "--offsets", 1)
    assert outcome.code == 0, outcome.stderr
    assert "interpolation" in outcome.stdout


def test_a_case_without_an_organ_or_a_wrong_n_is_refused(labelled_case: tuple[Path, Path], run_cli) -> None:
    image, labels = labelled_case
    call = ("evaluate", "propagation", image, labels, "--model", "tiny", "--every")
    assert run_cli(*call, "1").code == 2
    assert run_cli(*call, "five").code == 2
    save(labels, np.zeros((20, 24, 8), dtype=np.uint8))
    outcome = run_cli(*call, "3")
    assert outcome.code == 3 and "nothing to score" in outcome.stderr


def test_hidden_files_are_no_cases(folders: tuple[Path, Path], run_cli) -> None:
    (folders[1] / "._b.nii.gz").write_bytes(b"what macOS leaves on foreign disks")
    assert run_cli("evaluate", "masks", *folders).code == 0


def test_a_table_that_cannot_be_written_is_found_before_any_scoring(folders: tuple[Path, Path], run_cli) -> None:
    blocked = Path("/proc/scores.csv")  # no file can be made there, by root neither
    outcome = run_cli("evaluate", "masks", "nowhere", folders[1], "--csv", blocked)
    assert outcome.code == 4 and "scores.csv" in outcome.stderr


def test_impossible_names_and_numbers_end_in_one_line(folders: tuple[Path, Path], run_cli) -> None:
    outcome = run_cli("evaluate", "masks", "n" * 300, folders[1])
    assert outcome.code == 3 and "does not exist" in outcome.stderr
    case = folders[1] / "b.nii.gz"
    assert run_cli("evaluate", "propagation", case, case, "--model", "nobody", "--every", "9" * 5000).code in (2, 5)
