"""What `flarekit pseudolabel` reads outlives it, whatever the output folder and the options; and stale files go."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from segmentation_doubles import painted_classes, painted_ct, painted_volume

from flarekit.volumes import read_labels, write_labels, write_volume

IDS = {"background": 0, "block": 1, "pea": 2}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`images` with one CT, and label maps of two people who draw it differently, `one/labels` and `two/labels`."""
    write_volume(tmp_path / "images" / "a_0000.nii.gz", painted_ct())
    for shift, name in enumerate(("one", "two")):
        classes = np.roll(painted_classes(), shift, axis=2)
        write_labels(tmp_path / name / "labels" / "a.nii.gz", painted_volume().like(classes))
        (tmp_path / name / "dataset.json").write_text(json.dumps({"labels": IDS}))
    return tmp_path


@pytest.fixture
def run(folders, run_cli):
    def run(images: Path, out: Path, *options: object):
        people = [f"--predictions={name}={folders / name / 'labels'}" for name in ("one", "two")]
        return run_cli("pseudolabel", images, *people, "-o", out, *options)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_are_not_replaced_by_themselves(folders, run):
    image = folders / "data" / "imagesTr" / "a_0000.nii.gz"
    write_volume(image, painted_ct())
    before = contents(folders)
    outcome = run(folders / "data", folders / "data", "--layout", "nnunet", "--overwrite", "--threshold", "0")
    assert outcome.code == 4 and "a_0000.nii.gz: is read and would be written over" in outcome.stderr
    assert contents(folders) == before


def test_label_maps_that_vote_are_not_replaced_by_what_they_come_to(folders, run):
    before = contents(folders)
    outcome = run(folders / "images", folders / "one", "--threshold", "0", "--overwrite")
    assert outcome.code == 4 and "labels: is read and would be written over" in outcome.stderr
    assert contents(folders) == before


def test_a_round_is_not_compared_with_itself(folders, run):
    assert run(folders / "images", folders / "out", "--threshold", "0").code == 0
    before = contents(folders)
    again = ("--score", "instability", "--previous", folders / "out", "--overwrite")
    outcome = run(folders / "images", folders / "out", *again)
    assert outcome.code == 4 and "labels: is read and would be written over" in outcome.stderr
    assert contents(folders) == before


def test_starting_anew_for_nnunet_leaves_no_image_without_a_label_map(folders, run):
    out, original = folders / "out", (folders / "images" / "a_0000.nii.gz").read_bytes()
    assert run(folders / "images", out, "--layout", "nnunet", "--threshold", "0").code == 0
    assert (out / "imagesTr" / "a_0000.nii.gz").exists()
    assert run(folders / "images", out, "--layout", "nnunet", "--threshold", "1", "--overwrite").code == 0
    assert not list((out / "imagesTr").iterdir()) and not list((out / "labelsTr").iterdir())
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 0
    assert (folders / "images" / "a_0000.nii.gz").read_bytes() == original


def test_masks_of_other_ids_do_not_get_into_one_folder(folders, run):
    assert run(folders / "images", folders / "out", "--threshold", "0").code == 0
    write_volume(folders / "images" / "b_0000.nii.gz", painted_ct())
    for name in ("one", "two"):
        write_labels(folders / name / "labels" / "b.nii.gz", painted_volume().like(painted_classes()))
    other = folders / "other.json"
    other.write_text(json.dumps({"labels": {"background": 0, "block": 7, "pea": 8}}))
    outcome = run(folders / "images", folders / "out", "--threshold", "0", "--dataset", other)
    assert outcome.code == 2 and "was made with another ids" in outcome.stderr
    assert np.unique(read_labels(folders / "out" / "labels" / "a.nii.gz").array).tolist() == [0, 1, 2]
    assert json.loads((folders / "out" / "dataset.json").read_text())["labels"]["pea"] == 2


def test_a_round_before_that_is_called_as_a_member_is_refused(folders, run):
    before = folders / "before" / "one" / "labels"
    write_labels(before / "a.nii.gz", painted_volume().like(painted_classes()))
    outcome = run(folders / "images", folders / "out", "--previous", before.parent)
    assert outcome.code == 2 and "a member and the round before are both called 'one'" in outcome.stderr
    assert outcome.stderr.count("\n") == 1 and not (folders / "out").exists()


def statuses(out: Path) -> list[str]:
    return [json.loads(line)["status"] for line in (out / "ledger.jsonl").read_text().splitlines()]


def test_what_is_asked_for_later_and_fails_forgets_no_finished_case(folders, run):
    out = folders / "out"
    assert run(folders / "images", out, "--threshold", "0").code == 0
    (folders / "two" / "labels" / "a.nii.gz").unlink()
    outcome = run(folders / "images", out, "--threshold", "0", "--uncertainty", "--json")
    assert outcome.code == 7 and "no label map for the case 'a'" in json.loads(outcome.stdout)["cases"][0]["reason"]
    assert statuses(out) == ["kept"] and (out / "labels" / "a.nii.gz").exists()
    (out / "labels" / "a.nii.gz").unlink()
    assert run(folders / "images", out, "--threshold", "0").code == 7
    assert statuses(out) == ["kept", "failed"]


def test_an_image_for_nnunet_that_was_deleted_is_put_back(folders, run):
    out = folders / "out"
    assert run(folders / "images", out, "--layout", "nnunet", "--threshold", "0").code == 0
    (out / "imagesTr" / "a_0000.nii.gz").unlink()
    assert run(folders / "images", out, "--layout", "nnunet", "--threshold", "0").code == 0
    assert (out / "imagesTr" / "a_0000.nii.gz").exists()
