"""DICOM from end to end: folders of scans as cases of a store, `--series` on the command line."""

from __future__ import annotations

import json
import zipfile

import numpy as np
from dicom_files import HU, save, segmentation, write_series
from segmentation_doubles import publish_tiny

from flarekit.data.layouts import find_cases
from flarekit.data.store import SliceStore
from flarekit.evaluation.cases import pair_cases, score_pairs
from flarekit.labels import FLARE22
from flarekit.volumes import read_labels, read_volume, require_same_grid, write_labels


def statuses(run_cli, *arguments):
    outcome = run_cli("preprocess", *arguments, "--json")
    return outcome.code, {case["name"]: case["status"] for case in json.loads(outcome.stdout)["cases"]}


def test_each_folder_and_each_zip_of_dicom_is_a_case(tmp_path):
    write_series(tmp_path / "p1" / "study" / "series")
    write_series(tmp_path / "p2")
    write_series(tmp_path / ".hidden")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("no scan")
    with zipfile.ZipFile(tmp_path / "p3.zip", "w") as opened:
        opened.write(tmp_path / "p2" / "IM0000.dcm", "IM0")
    found = find_cases(tmp_path)
    assert [(case.name, case.image) for case in found.cases] == [
        ("p1", tmp_path / "p1"),
        ("p2", tmp_path / "p2"),
        ("p3", tmp_path / "p3.zip"),
    ]


def test_scans_in_folders_are_stored_and_skipped_until_a_slice_changes(run_cli, tmp_path):
    write_series(tmp_path / "scans" / "p1" / "series")
    write_series(tmp_path / "scans" / "p2" / "series", hu=HU + 1)
    command = (tmp_path / "scans", "-o", tmp_path / "store")
    assert statuses(run_cli, *command) == (0, {"p1": "written", "p2": "written"})
    assert np.array_equal(SliceStore.open(tmp_path / "store").case("p2").volume().array, HU + 1)
    assert statuses(run_cli, *command) == (0, {"p1": "skipped", "p2": "skipped"})
    write_series(tmp_path / "scans" / "p1" / "series", hu=HU + 2)
    assert statuses(run_cli, *command) == (0, {"p1": "redone", "p2": "skipped"})


def test_preprocess_takes_the_series_that_is_chosen(run_cli, tmp_path):
    write_series(tmp_path / "p1" / "a", uid="1.2.4")
    write_series(tmp_path / "p1" / "b", uid="1.2.5", hu=HU + 1)
    command = ("preprocess", tmp_path / "p1" / "..", "-o", tmp_path / "store")
    refused = run_cli(*command)
    assert refused.code == 3 and "holds 2 CT series" in refused.stderr and "--series 4" in refused.stderr
    for series, hu in (("4", HU), ("5", HU + 1)):
        assert run_cli(*command, "--series", series).code == 0
        assert np.array_equal(SliceStore.open(tmp_path / "store").case("p1").volume().array, hu)


def test_segment_reads_a_zip_and_the_series_that_is_chosen(run_cli, tmp_path):
    publish_tiny("ref")
    hu = np.random.default_rng(0).integers(-200, 300, (4, 40, 50)).astype(np.int16)
    for uid in ("1.2.4", "1.2.5"):
        write_series(tmp_path / "ct" / uid, uid=uid, hu=hu)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as opened:
        for file in (tmp_path / "ct").rglob("*.dcm"):
            opened.write(file, file.relative_to(tmp_path))
    options = ("-o", tmp_path / "mask.nii.gz", "--model", "ref", "--no-propagation", "--force")  # it is no patient
    command = ("segment", tmp_path / "ct.zip", *options)
    assert run_cli(*command, "--device", "cpu").code == 3
    assert run_cli(*command, "--device", "cpu", "--series", "7").code == 2
    outcome = run_cli(*command, "--device", "cpu", "--series", "5", "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["image"] == "ct.zip"
    require_same_grid(read_volume(tmp_path / "ct.zip", series="5"), read_labels(tmp_path / "mask.nii.gz"))


def test_propagate_takes_a_dicom_segmentation_for_the_drawing(run_cli, tmp_path):
    publish_tiny("prop", kind="propagation")
    hu = np.random.default_rng(0).integers(-200, 300, (4, 40, 50)).astype(np.int16)
    write_series(tmp_path / "ct", hu=hu)
    drawn = np.zeros((4, 40, 50), bool)
    drawn[1, 5:20, 10:30] = True
    save(segmentation(drawn[1:2], (1,), (1,)), tmp_path / "seg.dcm")
    command = ("propagate", tmp_path / "ct", tmp_path / "seg.dcm", "-o", tmp_path / "mask.nii.gz")
    outcome = run_cli(*command, "--model", "prop", "--device", "cpu", "--series", "3")
    assert outcome.code == 0, outcome.stderr
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz").array[1], drawn[1])


def test_a_dicom_segmentation_is_scored_on_the_grid_of_the_label_map_beside_it(tmp_path):
    ct = read_volume(write_series(tmp_path / "ct"))
    masks = np.zeros((2, *HU.shape[1:]), bool)
    masks[:, 1:4, 2:5] = True
    seg = save(segmentation(masks, (1, 2), (1, 1)), tmp_path / "seg.dcm")
    write_labels(tmp_path / "mask.nii.gz", read_labels(seg, like=ct))
    for predicted, true in ((seg, tmp_path / "mask.nii.gz"), (tmp_path / "mask.nii.gz", seg)):
        (scores,) = score_pairs(pair_cases(predicted, true), FLARE22)
        assert scores.dice["liver"] == 1
