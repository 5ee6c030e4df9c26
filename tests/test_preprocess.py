"""`flarekit preprocess`: from data sets to stores, going on where it was, past cases that are broken."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK

from flarekit.data import digest
from flarekit.data import preprocess as preprocessing
from flarekit.data.layouts import CaseFiles, find_cases
from flarekit.data.preprocess import REDONE, SKIPPED, WRITTEN, preprocess
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.errors import InputError, OutputError
from flarekit.labels import FLARE22
from flarekit.volumes.dicom import header

SHAPE = (5, 4, 3)
CT_AFFINE = np.diag([0.8, 0.9, 2.5, 1.0])  # RAS
LABEL_AFFINE = np.array([[0, -0.8, 0, 0.8 * 4], [0, 0, 0.9, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]])  # the same grid, turned


def save(path: Path, array: np.ndarray, affine: np.ndarray = CT_AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def hu(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def organs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 14, SHAPE).astype(np.uint16)


@pytest.fixture
def data_set(tmp_path) -> Path:
    """Cases a (labelled) and b (not) in FLARE22's layout."""
    save(tmp_path / "set" / "images" / "a_0000.nii.gz", hu(1))
    save(tmp_path / "set" / "images" / "b_0000.nii.gz", hu(2))
    save(tmp_path / "set" / "labels" / "a.nii.gz", organs(1))
    return tmp_path / "set"


def run_json(run_cli, *arguments):
    outcome = run_cli("preprocess", *arguments, "--json")
    return outcome.code, json.loads(outcome.stdout), outcome.stderr


def statuses(result) -> dict[str, str]:
    return {case["name"]: case["status"] for case in result["cases"]}


def test_a_data_set_becomes_a_store(run_cli, data_set, tmp_path):
    code, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store")
    assert code == 0 and statuses(result) == {"a": WRITTEN, "b": WRITTEN}
    store = SliceStore.open(tmp_path / "store")
    assert store.cases == ["a", "b"]
    a, b = store.case("a"), store.case("b")
    assert np.array_equal(a.volume().to_source_axes(), hu(1))
    assert np.array_equal(a.label_volume().to_source_axes(), organs(1))
    assert np.array_equal(b.volume().to_source_axes(), hu(2)) and not b.labelled
    assert (a.header.source_name, len(a.header.source_sha256)) == ("a_0000.nii.gz", 64)
    with h5py.File(store.case_path("a"), locking=False) as file:
        assert str(tmp_path) not in str(dict(file.attrs)), "no path of this machine is stored"


def test_labels_in_other_axes_on_the_same_grid_are_turned(run_cli, data_set, tmp_path):
    turned = np.flip(organs(1).transpose(2, 0, 1), axis=1)  # axes (k, i, j), the second one reversed
    save(data_set / "labels" / "a.nii.gz", np.ascontiguousarray(turned), LABEL_AFFINE)
    assert run_cli("preprocess", data_set, "-o", tmp_path / "store").code == 0
    labels = SliceStore.open(tmp_path / "store").case("a").label_volume()
    assert np.array_equal(labels.to_source_axes(), organs(1))


def test_a_second_run_skips_what_is_there(run_cli, data_set, tmp_path):
    run_json(run_cli, data_set, "-o", tmp_path / "store")
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "store").iterdir()}
    (tmp_path / "store" / "b.h5").unlink()
    code, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store")
    assert code == 0 and statuses(result) == {"a": SKIPPED, "b": WRITTEN}
    assert (tmp_path / "store" / "a.h5").stat().st_mtime_ns == before["a.h5"]


def test_a_case_whose_files_changed_is_redone(run_cli, data_set, tmp_path):
    run_json(run_cli, data_set, "-o", tmp_path / "store")
    save(data_set / "images" / "b_0000.nii.gz", hu(3))
    code, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store", "--resume")
    assert code == 0 and statuses(result) == {"a": SKIPPED, "b": REDONE}
    assert result["counts"] == {SKIPPED: 1, REDONE: 1}
    assert np.array_equal(SliceStore.open(tmp_path / "store").case("b").volume().to_source_axes(), hu(3))


def test_a_case_whose_labels_changed_is_redone(run_cli, data_set, tmp_path):
    run_json(run_cli, data_set, "-o", tmp_path / "store")
    save(data_set / "labels" / "b.nii.gz", organs(2))
    for organs_now in ((), ("--labelled-organs", "liver")):
        code, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store", *organs_now)
        assert code == 0 and statuses(result)["b"] == REDONE
    case = SliceStore.open(tmp_path / "store").case("b")
    assert case.header.labelled == (1,)


def test_overwriting_redoes_every_case(run_cli, data_set, tmp_path):
    for status, option in ((WRITTEN, "--resume"), (REDONE, "--overwrite")):
        _, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store", option)
        assert statuses(result) == {"a": status, "b": status}


def test_one_broken_case_does_not_stop_the_others(run_cli, data_set, tmp_path):
    (data_set / "images" / "broken_0000.nii.gz").write_text("no")
    code, result, stderr = run_json(run_cli, data_set, "-o", tmp_path / "store")
    assert code == 7 and statuses(result) == {"a": WRITTEN, "b": WRITTEN, "broken": "failed"}
    assert "broken_0000.nii.gz" in result["cases"][2]["error"]
    assert "1 of 3 cases failed: broken" in stderr
    assert SliceStore.open(tmp_path / "store").cases == ["a", "b"]


@pytest.mark.parametrize(
    ("module", "stage", "failure", "said"),
    [
        (digest, "sha256", OSError(errno.EIO, "Input/output error"), "cannot be read (Input/output error)"),
        (preprocessing, "write_case", MemoryError(), "takes more memory than there is"),
    ],
)
def test_a_case_on_a_failing_disk_or_too_large_does_not_stop_the_others(
    run_cli, data_set, tmp_path, monkeypatch, module, stage, failure, said
):
    works = getattr(module, stage)

    def fail_for_b(path, *arguments, **keywords):
        if path.name.startswith("b"):
            raise failure
        return works(path, *arguments, **keywords)

    monkeypatch.setattr(module, stage, fail_for_b)
    code, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store")
    assert code == 7 and statuses(result) == {"a": WRITTEN, "b": "failed"}
    error = result["cases"][1]["error"]
    assert said in error and "b_0000.nii.gz" in error


def test_volumes_in_a_plain_folder_are_not_opened_to_look_for_dicom(data_set, monkeypatch):
    def refuse(file):
        raise InputError("cannot be opened", where=file)

    monkeypatch.setattr(header, "starts_like_dicom", refuse)
    assert [case.name for case in find_cases(data_set / "images").cases] == ["a", "b"]


def test_a_single_broken_case_ends_with_its_own_code(run_cli, tmp_path):
    (tmp_path / "broken.nii.gz").write_text("no")
    outcome = run_cli("preprocess", tmp_path / "broken.nii.gz", "-o", tmp_path / "store")
    assert outcome.code == InputError.exit_code
    assert outcome.stderr.count("\n") == 1 and "broken.nii.gz" in outcome.stderr
    assert not (tmp_path / "store").exists()


def test_a_single_slice_is_stored(run_cli, tmp_path):
    save(tmp_path / "slice.nii.gz", hu()[:, :, :1])
    assert run_cli("preprocess", tmp_path / "slice.nii.gz", "-o", tmp_path / "store").code == 0
    case = SliceStore.open(tmp_path / "store").case("slice")
    assert case.depth == 1 and np.array_equal(case.volume().to_source_axes(), hu()[:, :, :1])


def test_labels_of_another_shape_or_place_are_refused(run_cli, data_set, tmp_path):
    save(data_set / "labels" / "a.nii.gz", organs(1)[:, :, :2])
    moved = CT_AFFINE.copy()
    moved[0, 3] = 4.0
    save(data_set / "labels" / "b.nii.gz", organs(2), moved)
    code, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store")
    errors = [case["error"] for case in result["cases"]]
    assert code == 7 and "different shapes" in errors[0] and "different grids" in errors[1]
    assert "a_0000.nii.gz" in errors[0] and "labels/a.nii.gz" in errors[0]
    assert not (tmp_path / "store").exists()


def test_unknown_label_ids_are_refused(run_cli, data_set, tmp_path):
    save(data_set / "labels" / "a.nii.gz", organs(1) + 40)
    _, result, _ = run_json(run_cli, data_set, "-o", tmp_path / "store")
    assert "label ids" in result["cases"][0]["error"]


def test_organs_that_were_not_labelled_are_open(run_cli, data_set, tmp_path):
    run_json(run_cli, data_set, "-o", tmp_path / "store", "--labelled-organs", "liver,spleen")
    labels = SliceStore.open(tmp_path / "store").case("a").label_volume().to_source_axes()
    assert np.array_equal(labels, np.where(np.isin(organs(1), (1, 3)), organs(1), 255))


def test_windows_can_be_baked(run_cli, data_set, tmp_path):
    assert run_cli("preprocess", data_set, "-o", tmp_path / "none", "--bake-windows", "--windows", "none").code == 0
    assert SliceStore.open(tmp_path / "none").case("a").header.baked.name == "none"
    assert run_cli("preprocess", data_set, "-o", tmp_path / "paper", "--bake-windows").code == 0
    assert SliceStore.open(tmp_path / "paper").config.baked.name == "paper"
    mixed = run_cli("preprocess", data_set, "-o", tmp_path / "paper")
    assert mixed.code == OutputError.exit_code
    assert "other settings: baked windows 'paper', not HU" in mixed.stderr


def test_a_store_made_with_other_settings_names_the_one_that_differs(run_cli, data_set, tmp_path):
    assert run_cli("preprocess", data_set, "-o", tmp_path / "store", "--compression", "gzip").code == 0
    with h5py.File(tmp_path / "store" / "a.h5") as file:
        assert file["hu"].compression == file["labels"].compression == "gzip"
    other = run_cli("preprocess", data_set, "-o", tmp_path / "store", "--compression", "bitshuffle-zstd")
    assert other.code == OutputError.exit_code and "compression gzip, not bitshuffle-zstd" in other.stderr
    assert run_cli("preprocess", data_set, "-o", tmp_path / "store").code == 0, "not asked for: as the store has it"
    (data_set / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1}}')
    other = run_cli("preprocess", data_set, "-o", tmp_path / "store")
    assert other.code == OutputError.exit_code and "3 spleen" in other.stderr and "not 1 liver" in other.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--windows", "paper"),
        ("--bake-windows", "--windows", "nope"),
        ("--compression", "zip9"),
        ("--scheduler", "host"),
        ("--labelled-organs", "spleeen"),
        ("--labelled-organs", ""),
    ],
)
def test_wrong_options_end_with_code_2(run_cli, data_set, tmp_path, arguments):
    assert run_cli("preprocess", data_set, "-o", tmp_path / "store", *arguments).code == 2
    assert not (tmp_path / "store").exists()


def test_a_case_whose_name_no_file_can_take_is_one_error(tmp_path):
    case = CaseFiles(name="n" * 254, image=save(tmp_path / "ct.nii.gz", hu()))  # as a folder of DICOM may be called
    store = SliceStore.create(tmp_path / "store", StoreConfig(labels=FLARE22))
    with pytest.raises(OutputError, match="too long"):
        preprocess([case], store)


def test_missing_input(run_cli, tmp_path):
    outcome = run_cli("preprocess", tmp_path / "none", "-o", tmp_path / "store")
    assert outcome.code == 3 and "none: does not exist" in outcome.stderr
    assert not (tmp_path / "store").exists()


def test_a_file_in_the_stores_place(run_cli, data_set, tmp_path):
    (tmp_path / "store").write_text("a file")
    outcome = run_cli("preprocess", data_set, "-o", tmp_path / "store")
    assert outcome.code == 4 and str(tmp_path / "store") in outcome.stderr


def test_a_volume_of_two_files_is_stored_again_when_its_voxels_change(run_cli, tmp_path):
    for seed, status in enumerate((WRITTEN, REDONE, SKIPPED)):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu(min(seed, 1))), tmp_path / "a.mhd")
        _, result, _ = run_json(run_cli, tmp_path / "a.mhd", "-o", tmp_path / "store")
        assert statuses(result) == {"a": status}


def test_a_full_disk_leaves_no_half_case(run_cli, full_disk, tmp_path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (60, 50, 40)).astype(np.int16)
    save(tmp_path / "ct.nii.gz", noise)
    with full_disk(40_000):
        outcome = run_cli("preprocess", tmp_path / "ct.nii.gz", "-o", tmp_path / "store")
    assert outcome.code == 4 and "ct.h5: no space left" in outcome.stderr
    assert list((tmp_path / "store").iterdir()) == []
    assert run_cli("preprocess", tmp_path / "ct.nii.gz", "-o", tmp_path / "store", "--bake-windows").code == 0


def test_processes_give_what_one_gives(data_set, tmp_path):
    found = find_cases(data_set)
    for workers in (0, 2):
        store = SliceStore.create(tmp_path / f"store{workers}", StoreConfig(labels=FLARE22))
        results = preprocess(found.cases, store, workers=workers)
        assert [(result.name, result.status) for result in results] == [("a", WRITTEN), ("b", WRITTEN)]
    files = [sorted((tmp_path / f"store{workers}").iterdir()) for workers in (0, 2)]
    assert [file.name for file in files[0]] == ["a.h5", "b.h5", "store.json"]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_a_real_ct_with_labels(run_cli, shared_data, tmp_path):
    folder = shared_data / "totalsegmentator"
    images, labels = tmp_path / "set" / "images", tmp_path / "set" / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    (images / "case_0000.nii.gz").symlink_to(folder / "example_ct.nii.gz")
    (labels / "case.nii.gz").symlink_to(folder / "example_ct_flarelabels_tsv1_fullres.nii.gz")
    assert run_cli("preprocess", tmp_path / "set", "-o", tmp_path / "store").code == 0
    case = SliceStore.open(tmp_path / "store").case("case")
    image = nibabel.load(folder / "example_ct.nii.gz")
    assert np.array_equal(case.volume().to_source_axes(), np.asarray(image.dataobj))
    voxels = case.label_voxels.sum(axis=0)
    assert voxels[10] == 0, "esophagus is the one organ without a label"
    assert (np.delete(voxels, 10) > 0).all()
