"""The demo, with tiny random networks in place of the starter weights and a painted box in place of a patient."""

from __future__ import annotations

import json

import numpy as np
import pytest
from segmentation_doubles import SHAPE, painted_classes, painted_ct, publish_tiny

from flarekit import demo
from flarekit.labels import FLARE22
from flarekit.volumes import read_labels, read_volume

FILES = {"ct.nii.gz", "mask.json", "mask.nii.gz", "mask_preview.png", "truth.nii.gz"}


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny weights under the starters' names, and a case that takes no time to paint."""
    publish_tiny(demo.REFERENCE, labels=FLARE22)
    publish_tiny(demo.PROPAGATION, kind="propagation", labels=FLARE22)
    volume = painted_ct()
    monkeypatch.setattr(demo, "paint_patient", lambda: (volume, volume.like(painted_classes())))


def test_the_demo_paints_segments_scores_and_draws(starter, tmp_path, run_cli):
    folder = tmp_path / "demo"
    outcome = run_cli("demo", "-o", folder, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert {file.name for file in folder.iterdir()} == FILES == set(report["files"])
    assert list(report["organs"]) == list(FLARE22.names)
    assert report["mean_dice"] == pytest.approx(np.mean([o["dice"] for o in report["organs"].values()]))
    assert read_volume(folder / "ct.nii.gz").array.shape == SHAPE
    mask, truth = (read_labels(folder / name).array for name in ("mask.nii.gz", "truth.nii.gz"))
    overlap = 2 * ((mask == 1) & (truth == 1)).sum() / ((mask == 1).sum() + (truth == 1).sum())
    assert report["organs"]["liver"]["dice"] == pytest.approx(overlap)
    assert report["organs"]["spleen"]["dice"] in (0.0, 1.0)  # it is nowhere in the truth


def test_an_existing_folder_is_left_alone_and_overwrite_spares_other_files(starter, tmp_path, run_cli):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    refused = run_cli("demo", "-o", folder)
    assert refused.code == 4 and "--overwrite" in refused.stderr
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]
    assert run_cli("demo", "-o", folder, "--overwrite").code == 0
    assert {file.name for file in folder.iterdir()} == FILES | {"mine.txt"}


def test_the_patient_has_every_organ(monkeypatch):
    monkeypatch.setattr(demo, "SPACING_MM", (8.0, 4.0, 5.0))
    monkeypatch.setattr(demo, "SHAPE", (36, 90, 76))
    image, truth = demo.paint_patient()
    assert image.array.dtype == np.int16 and image.array.shape == truth.array.shape == (36, 90, 76)
    assert image.spacing_mm == pytest.approx((8.0, 4.0, 5.0))
    assert set(np.unique(truth.array)) == set(range(14))


@pytest.mark.slow
def test_the_starter_weights_find_the_demo_patients_large_organs(tmp_path, run_cli):
    outcome = run_cli("demo", "-o", tmp_path / "demo", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    large = [report["organs"][organ]["dice"] for organ in ("liver", "spleen", "aorta", "stomach")]
    assert min(large) > 0.8 and report["mean_dice"] > 0.6
