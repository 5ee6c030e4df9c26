"""Labels that lie elsewhere, that ignore voxels, or that cover some organs only: from files to stores and scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from flarekit.data.store import SliceStore
from flarekit.labels import IGNORE

SHAPE = (7, 6, 5)  # the file's axes
AFFINE = np.diag([-1.0, -1.2, 2.5, 1.0])


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, AFFINE, dtype=array.dtype).to_filename(path)
    return path


def hu(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def ids(seed: int, highest: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, highest, SHAPE, endpoint=True).astype(np.uint8)


def describe(path: Path, **entries: object) -> Path:
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    path.write_text(json.dumps({"labels": labels, **entries}))
    return path


def case_of(store: Path, name: str):
    return SliceStore.open(store).case(name)


def test_labels_from_elsewhere_are_stored_with_plain_images(run_cli, tmp_path):
    for seed, name in enumerate("ab"):
        save(tmp_path / "scans" / f"{name}.nii.gz", hu(seed))
    save(tmp_path / "masks" / "a.nii.gz", ids(0, 13))
    store = tmp_path / "store"
    assert run_cli("preprocess", tmp_path / "scans", "--labels", tmp_path / "masks", "-o", store).code == 0
    assert np.array_equal(case_of(store, "a").label_volume().to_source_axes(), ids(0, 13))
    assert not case_of(store, "b").labelled
    one = ("preprocess", tmp_path / "scans" / "b.nii.gz", "--labels", tmp_path / "masks" / "a.nii.gz")
    assert run_cli(*one, "-o", tmp_path / "one").code == 0
    assert np.array_equal(case_of(tmp_path / "one", "b").label_volume().to_source_axes(), ids(0, 13))


def test_the_ignore_label_is_stored_as_no_class(run_cli, tmp_path):
    image, mask = save(tmp_path / "a.nii.gz", hu(0)), save(tmp_path / "mask.nii.gz", ids(0))
    arguments = ("preprocess", image, "--labels", mask, "--dataset", describe(tmp_path / "dataset.json"))
    assert run_cli(*arguments, "-o", tmp_path / "store").code == 0
    case = case_of(tmp_path / "store", "a")
    assert np.array_equal(case.label_volume().to_source_axes(), np.where(ids(0) == 3, IGNORE, ids(0)))
    assert case.label_voxels.sum() == np.count_nonzero(ids(0) != 3)
    refused = run_cli(*arguments, "--labelled-organs", "liver", "-o", tmp_path / "partial")
    assert refused.code == 3 and "ignore label" in refused.stderr


def test_what_is_ignored_is_not_scored(run_cli, tmp_path):
    truth = ids(0)
    predicted = np.where(truth == 3, 1, truth).astype(np.uint8)
    dataset = describe(tmp_path / "dataset.json")
    arguments = (save(tmp_path / "p.nii.gz", predicted), save(tmp_path / "t.nii.gz", truth), "--dataset", dataset)
    outcome = run_cli("evaluate", "masks", *arguments, "--json")
    assert json.loads(outcome.stdout)["organs"] == {"liver": 1.0, "spleen": 1.0}


@pytest.fixture
def predictions(tmp_path) -> tuple[Path, Path]:
    """Cases a and b, predicted without a fault; the truth of b has no spleen, which nobody looked for."""
    for seed, name in enumerate("ab"):
        save(tmp_path / "pred" / f"{name}.nii.gz", ids(seed, 2))
    save(tmp_path / "true" / "a.nii.gz", ids(0, 2))
    save(tmp_path / "true" / "b.nii.gz", np.where(ids(1, 2) == 2, 0, ids(1, 2)).astype(np.uint8))
    return tmp_path / "pred", tmp_path / "true"


def test_organs_that_a_case_is_not_labelled_for_are_not_scored(run_cli, predictions, tmp_path):
    plain = describe(tmp_path / "plain.json")
    partial = describe(tmp_path / "partial.json", labelled_organs={"b": ["liver"]})
    outcome = run_cli("evaluate", "masks", *predictions, "--dataset", plain, "--json")
    assert json.loads(outcome.stdout)["organs"] == {"liver": 1.0, "spleen": 0.5}
    outcome = run_cli("evaluate", "masks", *predictions, "--dataset", partial, "--csv", tmp_path / "s.csv", "--json")
    report = json.loads(outcome.stdout)
    assert report["organs"] == {"liver": 1.0, "spleen": 1.0} and report["mean"] == 1.0
    rows = csv.DictReader((tmp_path / "s.csv").open())
    assert [(row["liver"], row["spleen"], row["mean"]) for row in rows] == [
        ("1.0000", "1.0000", "1.0000"),
        ("1.0000", "", "1.0000"),
    ]
    outcome = run_cli("evaluate", "masks", *predictions, "--dataset", partial)
    assert outcome.code == 0 and "spleen" in outcome.stdout


def test_an_organ_that_no_case_is_labelled_for_is_left_out(run_cli, predictions, tmp_path):
    dataset = describe(tmp_path / "dataset.json", labelled_organs=["liver"])
    outcome = run_cli("evaluate", "masks", *predictions, "--dataset", dataset, "--json")
    assert json.loads(outcome.stdout)["organs"] == {"liver": 1.0}
    outcome = run_cli("evaluate", "masks", *predictions, "--dataset", dataset, "--organs", "spleen")
    assert outcome.code == 2 and "labelled" in outcome.stderr
