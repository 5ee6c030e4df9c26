"""`--hu-offset`: a volume stored as HU + 1024 gives what the true one gives, and says so."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from segmentation_doubles import publish_tiny

from flarekit.config.phantom import RECIPES
from flarekit.data.store import SliceStore
from flarekit.phantom import canonical_volume, paint, synthetic_anatomy
from flarekit.volumes import read_labels, write_labels, write_volume

SPACING_MM = (15.0, 6.0, 7.0)


@cache
def hu() -> np.ndarray:
    return np.maximum(paint(synthetic_anatomy(0, SPACING_MM, (19, 53, 54)), SPACING_MM, RECIPES["plain"], 0), -1024)


@pytest.fixture
def shifted(tmp_path) -> Path:
    """A CT stored as HU + 1024."""
    write_volume(tmp_path / "in" / "a.nii.gz", canonical_volume(hu() + np.int16(1024), SPACING_MM))
    return tmp_path / "in" / "a.nii.gz"


def stored(run_cli, image: Path, store: Path, *options: str):
    outcome = run_cli("preprocess", image, "-o", store, *options, "--json")
    return json.loads(outcome.stdout)["cases"][0]["status"], SliceStore.open(store).case("a"), outcome


def test_preprocess_takes_the_offset_off_and_records_it(run_cli, shifted, tmp_path):
    status, case, outcome = stored(run_cli, shifted, tmp_path / "store")
    assert status == "written" and np.array_equal(case.volume().array, hu())
    assert (case.header.hu_offset, case.header.hu_offset_asked) == (1024, "auto")
    assert outcome.stderr.count("holds HU + 1024") == 1


def test_preprocess_stores_a_case_again_when_another_offset_is_asked_for(run_cli, shifted, tmp_path):
    expected = {"auto": hu(), "none": hu() + 1024, "1000": hu() + 24}
    for option, values in expected.items():
        for status in ("written" if option == "auto" else "redone", "skipped"):
            found, case, _ = stored(run_cli, shifted, tmp_path / "store", "--hu-offset", option)
            assert found == status and np.array_equal(case.volume().array, values)
    assert case.header.hu_offset == 1000


def test_a_case_stored_before_there_were_offsets_is_read_and_skipped(run_cli, tmp_path):
    write_volume(tmp_path / "a.nii.gz", canonical_volume(hu(), SPACING_MM))
    _, case, _ = stored(run_cli, tmp_path / "a.nii.gz", tmp_path / "store")
    case.close()
    with h5py.File(case.path, "r+") as file:
        del file.attrs["hu_offset"], file.attrs["hu_offset_asked"]
    status, case, _ = stored(run_cli, tmp_path / "a.nii.gz", tmp_path / "store")
    assert status == "skipped" and (case.header.hu_offset, case.header.hu_offset_asked) == (0, "auto")


@pytest.mark.parametrize(("option", "recorded"), [("auto", 1024), ("none", 0), ("1024", 1024)])
def test_segment_records_what_it_took_off(run_cli, shifted, tmp_path, option, recorded):
    publish_tiny("tiny")
    outcome = run_cli(
        "segment", shifted, "-o", tmp_path / "mask.nii.gz", "--model", "tiny", "--no-propagation", "--device", "cpu",
        "--hu-offset", option, "--json",
    )  # fmt: skip
    assert outcome.code == 0 and json.loads(outcome.stdout)["hu_offset"] == recorded
    assert ("holds HU + 1024" in outcome.stderr) == (option == "auto")


def test_the_offset_changes_no_mask(run_cli, shifted, tmp_path):
    publish_tiny("tiny")
    write_volume(tmp_path / "true.nii.gz", canonical_volume(hu(), SPACING_MM))
    for path, mask in ((shifted, "shifted"), (tmp_path / "true.nii.gz", "true")):
        options = ("--model", "tiny", "--no-propagation", "--device", "cpu")
        assert run_cli("segment", path, "-o", tmp_path / f"{mask}-mask.nii.gz", *options).code == 0
    masks = [read_labels(tmp_path / f"{mask}-mask.nii.gz").array for mask in ("shifted", "true")]
    assert masks[0].any() and np.array_equal(*masks)


def test_propagate_records_what_it_took_off(run_cli, shifted, tmp_path):
    publish_tiny("tiny", kind="propagation")
    drawn = np.zeros(hu().shape, dtype=np.uint8)
    drawn[9, 20:30, 20:30] = 1
    write_labels(tmp_path / "drawn.nii.gz", canonical_volume(drawn, SPACING_MM))
    outcome = run_cli(
        "propagate", shifted, tmp_path / "drawn.nii.gz", "-o", tmp_path / "out.nii.gz", "--model", "tiny",
        "--device", "cpu", "--json",
    )  # fmt: skip
    assert outcome.code == 0 and json.loads(outcome.stdout)["hu_offset"] == 1024


def test_pseudolabel_records_what_it_took_off(run_cli, shifted, tmp_path):
    for name, seed in (("x", 5), ("y", 10)):
        publish_tiny(name, seed=seed)
    arguments = ("pseudolabel", shifted, "--models", "x,y", "--threshold", "0", "--device", "cpu")
    for option, recorded in (("auto", 1024), ("none", 0)):
        outcome = run_cli(*arguments, "-o", tmp_path / option, "--hu-offset", option)
        assert outcome.code == 0
        assert json.loads((tmp_path / option / "ledger.jsonl").read_text())["hu_offset"] == recorded


@pytest.mark.parametrize("command", ["preprocess", "segment"])
def test_an_offset_that_is_no_number_is_refused(run_cli, shifted, tmp_path, command):
    outcome = run_cli(command, shifted, "-o", tmp_path / "out.nii.gz", "--hu-offset", "some")
    assert outcome.code == 2 and "--hu-offset is auto, none or a number" in outcome.stderr
