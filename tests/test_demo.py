"""The demo, with tiny random networks in place of the starter weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from segmentation_doubles import publish_tiny

from flarekit import demo
from flarekit.labels import FLARE22
from flarekit.volumes import read_labels, read_volume

FILES = {"ct.nii.gz", "mask.json", "mask.nii.gz", "overlay.png", "truth.nii.gz"}


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny weights under the starters' names, and a patient painted coarsely."""
    publish_tiny(demo.REFERENCE, labels=FLARE22)
    publish_tiny(demo.PROPAGATION, kind="propagation", labels=FLARE22)
    monkeypatch.setattr(demo, "SPACING_MM", (10.0, 4.0, 5.0))
    monkeypatch.setattr(demo, "SHAPE", (29, 88, 76))


def test_the_demo_paints_segments_scores_and_draws(starter, tmp_path, run_cli):
    outcome = run_cli("demo", "-o", tmp_path / "demo", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    folder = tmp_path / "demo"
    assert {file.name for file in folder.iterdir()} == FILES == set(report["files"])
    assert list(report["organs"]) == list(FLARE22.names)
    assert report["mean_dice"] == pytest.approx(np.mean([o["dice"] for o in report["organs"].values()]))
    ct, truth, mask = (
        read_volume(folder / "ct.nii.gz"),
        read_labels(folder / "truth.nii.gz"),
        read_labels(folder / "mask.nii.gz"),
    )
    assert ct.array.shape == truth.array.shape == mask.array.shape == (29, 88, 76)
    liver = [labels.array == 1 for labels in (mask, truth)]
    overlap = 2 * (liver[0] & liver[1]).sum() / max(1, liver[0].sum() + liver[1].sum())
    assert report["organs"]["liver"]["dice"] == pytest.approx(overlap)


def test_an_existing_folder_is_left_alone_and_overwrite_spares_other_files(starter, tmp_path, run_cli):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    refused = run_cli("demo", "-o", folder)
    assert refused.code == 4 and "--overwrite" in refused.stderr
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]
    assert run_cli("demo", "-o", folder, "--overwrite").code == 0
    assert {file.name for file in folder.iterdir()} == FILES | {"mine.txt"}


def test_the_patient_is_always_the_same_and_has_every_organ(monkeypatch):
    monkeypatch.setattr(demo, "SPACING_MM", (8.0, 4.0, 4.0))
    monkeypatch.setattr(demo, "SHAPE", (36, 90, 96))
    image, truth = demo.paint_patient()
    again, _ = demo.paint_patient()
    assert np.array_equal(image.array, again.array)
    assert image.array.dtype == np.int16 and set(np.unique(truth.array)) == set(range(14))
