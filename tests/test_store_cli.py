"""`flarekit store`: looking into a store, and back to volume files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from flarekit.data.checksum import is_whole
from flarekit.data.store import SliceStore

AFFINE = np.array([[0, -0.8, 0, 9], [0.9, 0, 0, -7], [0, 0, 2.5, 1], [0, 0, 0, 1]], dtype=np.float32)
HU = np.random.default_rng(1).integers(-1000, 1000, (5, 4, 3)).astype(np.int16)
IDS = np.random.default_rng(2).integers(0, 14, HU.shape).astype(np.uint8)


@pytest.fixture
def data_set(tmp_path):
    for folder, name, array in (("images", "a_0000", HU), ("images", "b_0000", HU), ("labels", "a", IDS)):
        path = tmp_path / "set" / folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return tmp_path / "set"


def test_info_lists_cases_and_their_labels(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    result = json.loads(run_cli("store", "info", tmp_path / "store", "--json").stdout)
    a, b = result["cases"]
    assert (a["name"], a["shape"], a["labels"], b["labels"]) == ("a", [3, 5, 4], "all", "none")
    assert a["spacing_mm"] == pytest.approx([2.5, 0.9, 0.8])
    assert "3 x 5 x 4" in run_cli("store", "info", tmp_path / "store").stdout


def test_export_gives_the_source_back(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    ct, mask = tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz"
    assert run_cli("store", "export", tmp_path / "store", "a", "-o", ct, "--labels", mask).code == 0
    for path, array in ((ct, HU), (mask, IDS)):
        image = nibabel.load(path)
        assert np.array_equal(np.asarray(image.dataobj), array) and np.array_equal(image.affine, AFFINE)
    assert run_cli("store", "export", tmp_path / "store", "a", "-o", ct).code == 4


def test_open_voxels_are_exported_as_255(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store", "--labelled-organs", "liver")
    mask = tmp_path / "mask.nii.gz"
    run_cli("store", "export", tmp_path / "store", "a", "-o", tmp_path / "ct.nii.gz", "--labels", mask)
    assert np.array_equal(np.asarray(nibabel.load(mask).dataobj), np.where(IDS == 1, 1, 255))


def test_what_cannot_be_exported(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    unknown = run_cli("store", "export", tmp_path / "store", "c", "-o", tmp_path / "c.nii.gz")
    assert unknown.code == 3 and "'c'" in unknown.stderr
    unlabelled = run_cli(
        "store", "export", tmp_path / "store", "b", "-o", tmp_path / "b.nii.gz", "--labels", tmp_path / "m.nii.gz"
    )
    assert unlabelled.code == 3 and "no labels" in unlabelled.stderr
    assert run_cli("store", "info", tmp_path).code == 3


@pytest.mark.parametrize(("case", "labels", "code"), [("b", "m.nii.gz", 3), ("a", "m.png", 4), ("a", "ct.nii.gz", 2)])
def test_an_export_that_cannot_end_well_writes_nothing(run_cli, data_set, tmp_path, case, labels, code):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    ct = tmp_path / "ct.nii.gz"
    outcome = run_cli("store", "export", tmp_path / "store", case, "-o", ct, "--labels", tmp_path / labels)
    assert outcome.code == code and not ct.exists()


def test_names_with_brackets_are_printed_as_they_are(run_cli, data_set, tmp_path):
    (data_set / "images" / "b_0000.nii.gz").rename(data_set / "images" / "b[bold].nii.gz")
    store = tmp_path / "store[red]"
    assert "b[bold]" in run_cli("preprocess", data_set, "-o", store).stdout
    ct = tmp_path / ("x" * 130) / "[/red] ct.nii.gz"
    assert run_cli("store", "export", store, "b[bold]", "-o", ct).stdout == f"Wrote {ct}.\n"


def verified(run_cli, store, *options):
    outcome = run_cli("store", "verify", store, "--json", *options)
    result = json.loads(outcome.stdout)
    return outcome, {case["name"]: (case["status"], case["problem"]) for case in result["cases"]}


def test_verify_finds_a_flipped_byte_wherever_it_is(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    assert run_cli("store", "verify", tmp_path / "store").code == 0
    path = tmp_path / "store" / "a.h5"
    content = path.read_bytes()
    unnoticed = []
    for place in (*range(0, 600, 3), *range(600, len(content), 101)):  # the checksum's own block, then the rest
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        if is_whole(path) is not False:
            unnoticed.append(place)
    assert len(content) > 5000 and unnoticed == []
    outcome, found = verified(run_cli, tmp_path / "store")
    assert outcome.code == 3 and "1 damaged cases: a" in outcome.stderr
    assert found == {"a": ("damaged", "holds other bytes than were written"), "b": ("ok", "")}


def test_verify_names_cut_foreign_and_misplaced_cases(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    run_cli("preprocess", data_set, "-o", tmp_path / "baked", "--bake-windows")
    store = tmp_path / "store"
    shutil.copy(tmp_path / "baked" / "a.h5", store / "baked.h5")
    shutil.copy(store / "a.h5", store / "misnamed.h5")
    (store / "cut.h5").write_bytes((store / "a.h5").read_bytes()[:-1])
    (store / "empty.h5").touch()
    with h5py.File(store / "foreign.h5", "w") as file:
        file["hu"] = np.zeros(3)
    outcome, found = verified(run_cli, store, "--workers", "2")
    assert outcome.code == 3
    assert {name for name, (status, _) in found.items() if status == "ok"} == {"a", "b"}
    assert found["misnamed"] == ("damaged", "holds the case 'a'")
    assert "baked windows 'paper'" in found["baked"][1] and "not a case" in found["foreign"][1]


def test_a_case_of_an_older_flarekit_has_no_checksum_and_is_read_instead(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store", "--compression", "gzip")
    path = tmp_path / "store" / "a.h5"
    path.write_bytes(path.read_bytes()[512:])  # as the file was before it had a user block
    outcome, found = verified(run_cli, tmp_path / "store")
    assert outcome.code == 0 and found["a"] == ("no checksum", "")
    assert np.array_equal(SliceStore.open(tmp_path / "store").case("a").volume().to_source_axes(), HU)
    with h5py.File(path) as file:
        start = file["labels"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[start : start + 8] = bytes(8)
    path.write_bytes(content)
    outcome, found = verified(run_cli, tmp_path / "store")
    assert outcome.code == 3 and found["a"] == ("damaged", "is damaged: 'labels' cannot be read")


def test_the_baked_case_is_exported_as_labels_only(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store", "--bake-windows")
    mask = tmp_path / "mask.nii.gz"
    refused = run_cli("store", "export", tmp_path / "store", "a", "-o", tmp_path / "ct.nii.gz", "--labels", mask)
    assert refused.code == 3 and "no HU" in refused.stderr and not mask.exists()
    assert run_cli("store", "export", tmp_path / "store", "a", "--labels", mask).code == 0
    assert np.array_equal(np.asarray(nibabel.load(mask).dataobj), IDS)
    assert run_cli("store", "export", tmp_path / "store", "a").code == 2


def test_the_example_reads_a_store_without_flarekit(run_cli, data_set, tmp_path):
    run_cli("preprocess", data_set, "-o", tmp_path / "store")
    example = Path(__file__).parents[1] / "examples" / "read_store.py"
    assert "flarekit" not in example.read_text().partition('"""\n')[2], "it stands for tools that know h5py alone"
    command = [sys.executable, example, tmp_path / "store", "a"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    middle = HU[:, :, 1]
    assert f"a_0000.nii.gz: (3, 5, 4), slice 1 from {middle.min()} to {middle.max()} HU" in printed
    assert f"{'spleen':22s} {(IDS == 3).sum():9d} voxels" in printed
