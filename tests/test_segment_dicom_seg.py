"""`flarekit segment` from DICOM to DICOM-SEG."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_seg_files import frames_of, places_in_nifti, places_in_segmentation, write_scan
from segmentation_doubles import ORGANS, SPACING_MM, painted_classes, painted_ct, publish_tiny

import flarekit
from flarekit.config.segment import OutputConfig
from flarekit.errors import UsageError
from flarekit.pipeline import OrganResult, Segmentation
from flarekit.volumes import Volume, read_labels, read_volume, write_volume

pytest.importorskip("highdicom", reason="highdicom is not installed: flarekit[dicom]")

MODELS = ("--model", "ref", "--propagation-model", "prop", "--device", "cpu")


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """A series of a painted CT, and checkpoints `ref` and `prop`, whose networks find the organs 4 and 9 in it."""
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    monkeypatch.setattr("flarekit.pipeline.case.segment", found)
    return write_scan(tmp_path / "scan", painted_ct().array, SPACING_MM)


@pytest.fixture
def run(scan, run_cli):
    def run(*options: object, case: Path = scan):
        return run_cli("segment", case, *MODELS, *options)

    return run


def test_a_name_in_dcm_asks_for_the_mask_as_a_segmentation_of_the_series(run, scan, tmp_path):
    out = tmp_path / "out"
    assert run("-o", tmp_path / "mask.nii.gz", "--label-map", segments_file(tmp_path)).code == 0
    outcome = run("-o", out / "seg.dcm", "--statistics", "--report")
    assert outcome.code == 0, outcome.stderr
    places = places_in_segmentation(out / "seg.dcm")
    assert places and places == places_in_nifti(tmp_path / "mask.nii.gz")
    ct = read_volume(scan)
    back, mask = read_labels(out / "seg.dcm", like=ct), read_labels(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(back.array, mask.array)
    assert {path.name for path in out.iterdir()} == {"seg.dcm", "seg.json", "seg_statistics.csv", "seg_report.html"}
    report = json.loads((out / "seg.json").read_text())
    assert [(organ["name"], organ["id"]) for organ in report["organs"]] == [("block", 1), ("pea", 2)]
    assert report["labels"] == {"1": "block", "2": "pea"} and report["outputs"][0] == "seg.dcm"


def test_the_patient_is_in_the_segmentation_alone(run, tmp_path):
    outcome = run("-o", tmp_path / "out" / "seg.dcm", "--report", "--statistics", "--json")
    ds = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    assert (ds.PatientName, ds.PatientID) == ("Secret^Name", "SECRET-ID")
    others = [path.read_bytes() for path in (tmp_path / "out").iterdir() if path.suffix != ".dcm"]
    assert len(others) == 3 and not any(b"Secret" in data or b"SECRET" in data for data in others)
    assert "secret" not in (outcome.stdout + outcome.stderr).lower()


def test_the_checkpoints_are_named_as_the_algorithm(run, tmp_path):
    run("-o", tmp_path / "seg.dcm", "--organs", "pea")
    (segment,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    made_by = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmName) == (1, "Pea", "flarekit ref@1")
    assert made_by.AlgorithmVersion == flarekit.__version__
    assert made_by.AlgorithmParameters == "reference=ref@1,propagation=prop@1"


def test_without_a_name_the_option_asks_for_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run("--dicom-seg")
    assert outcome.code == 0 and "Wrote scan_seg.dcm. Beside it: scan_seg.json.\n" in outcome.stdout
    assert frames_of(pydicom.dcmread("scan_seg.dcm")).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split",), "keeps the organs apart in one file. Leave out --split."),
        (("--label-map", "totalsegmentator"), "Leave out --label-map."),
    ],
)
def test_what_has_no_place_in_it_is_refused(run, tmp_path, options, words):
    outcome = run("-o", tmp_path / "seg.dcm", *options)
    assert outcome.code == 2 and words in outcome.stderr


def test_another_format_under_the_option_is_refused(run, tmp_path):
    outcome = run("-o", tmp_path / "seg.nii.gz", "--dicom-seg")
    assert outcome.code == 4 and "is not the name of a DICOM-SEG. Let it end in .dcm" in outcome.stderr


def test_a_nifti_file_has_no_series_to_refer_to(run, tmp_path):
    write_volume(tmp_path / "ct.nii.gz", painted_ct())
    outcome = run("-o", tmp_path / "seg.dcm", case=tmp_path / "ct.nii.gz")
    assert outcome.code == 3 and "ct.nii.gz: is not DICOM" in outcome.stderr
    assert not list(tmp_path.glob("seg*"))


def test_without_highdicom_nothing_is_begun(run, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = run("-o", tmp_path / "seg.dcm")
    assert outcome.code == 8 and 'pip install "flarekit[dicom]"' in outcome.stderr
    assert not list(tmp_path.glob("seg*"))


def test_one_that_is_there_stays_without_overwrite(run, tmp_path):
    run("-o", tmp_path / "seg.dcm")
    before = (tmp_path / "seg.dcm").read_bytes()
    assert run("-o", tmp_path / "seg.dcm").code == 4
    assert (tmp_path / "seg.dcm").read_bytes() == before
    assert run("-o", tmp_path / "seg.dcm", "--overwrite").code == 0
    assert (tmp_path / "seg.dcm").read_bytes() != before


def test_a_slice_of_the_ct_is_not_written_over(run, scan):
    before = {path: path.read_bytes() for path in scan.iterdir()}
    outcome = run("-o", scan / "IM0003.dcm", "--overwrite")
    assert outcome.code == 4 and "it may be a slice of the CT" in outcome.stderr
    assert {path: path.read_bytes() for path in scan.iterdir()} == before


def test_a_segmentation_beside_the_slices_does_not_disturb_the_next_run(run, scan):
    assert run("-o", scan / "seg.dcm").code == 0
    assert run("-o", scan / "again.dcm").code == 0


def test_folders_of_dicom_become_a_folder_of_segmentations(run, scan, tmp_path):
    root = tmp_path / "scans"
    shutil.copytree(scan, root / "first")
    write_scan(root / "second", painted_ct().array[:6], SPACING_MM, FrameOfReferenceUID=None)
    shutil.make_archive(str(root / "third"), "zip", scan)
    outcome = run("--dicom-seg", "-o", root / "segs", case=root)
    assert outcome.code == 7 and "second: does not say its frame of reference" in outcome.stderr.replace("\n", " ")
    made = {path.name for path in (root / "segs").iterdir()}
    assert made == {"first.dcm", "first.json", "third.dcm", "third.json", "batch.json", "batch.csv"}
    assert places_in_segmentation(root / "segs" / "first.dcm") == places_in_segmentation(root / "segs" / "third.dcm")
    outcome = run("--dicom-seg", "-o", root / "segs", "--json", case=root)  # the folder of results is no case
    assert json.loads(outcome.stdout)["counts"] == {"skipped": 2, "failed": 1}


def test_python_saves_both(scan, tmp_path):
    result = flarekit.segment(scan, model="ref", propagation_model="prop", device="cpu")
    result.save(tmp_path / "seg.dcm")
    result.save(tmp_path / "mask.nii.gz")
    segments, ids = places_in_segmentation(tmp_path / "seg.dcm"), places_in_nifti(tmp_path / "mask.nii.gz")
    assert segments and {place: {1: 4, 2: 9}[number] for place, number in segments.items()} == ids
    of_seg, of_mask = (json.loads((tmp_path / name).read_text()) for name in ("seg.json", "mask.json"))
    assert [organ["id"] for organ in of_seg["organs"]] == [1, 2] and of_seg["labels"] == {"1": "block", "2": "pea"}
    assert [organ["id"] for organ in of_mask["organs"]] == [4, 9]


def test_the_configuration_refuses_what_contradicts_itself():
    with pytest.raises(UsageError):
        OutputConfig(dicom_seg=True, split=True)


def found(volume: Volume, *_: object, **__: object) -> Segmentation:
    """What is painted."""
    classes = painted_classes()[: len(volume.array)]
    organs = zip(ORGANS.names, ORGANS.ids, strict=True)
    return Segmentation(
        classes=classes,
        organs=tuple(OrganResult(name=name, id=number, volume_ml=1.0, confidence=0.9) for name, number in organs),
        certainty=np.full((len(ORGANS.names), len(classes)), 0.9, dtype=np.float32),
        sampled=(0,),
        second_pass=None,
        references=(),
        seconds={},
    )


def segments_file(folder: Path) -> Path:
    """A numbering of the two organs as the segments have it."""
    path = folder / "segments.toml"
    path.write_text("block = 1\npea = 2\n")
    return path
