"""A CT of the chest says that it is none of the abdomen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from segmentation_doubles import painted_volume, publish_tiny

from flarekit.labels import FLARE22
from flarekit.pipeline.chest import chest_flags
from flarekit.volumes import read_volume, write_volume

ABDOMEN = ("liver", "spleen")


def ct(chest: int, abdomen: int) -> np.ndarray:
    """A body of 40 HU in air; a third of it are lungs in the slices of the chest, a quarter in those of the abdomen."""
    hu = np.full((chest + abdomen, 20, 24), -1000, dtype=np.int16)
    hu[:, 4:16, 5:20] = 40
    hu[abdomen:, 6:10, 5:20] = -800
    hu[:abdomen, 6:9, 5:20] = -800
    return hu


def test_a_ct_of_mostly_lungs_is_flagged_as_a_whole():
    (flag,) = chest_flags(ct(chest=6, abdomen=4), ABDOMEN)
    assert (flag.severity, flag.code, flag.organ) == ("warning", "chest", None)
    assert flag.text.startswith("lungs fill 6 of 10 slices: is it a CT of the chest?")


def test_lungs_over_an_abdomen_are_not_flagged():
    assert list(chest_flags(ct(chest=5, abdomen=5), ABDOMEN)) == []


def test_networks_that_know_the_chest_are_not_warned_of_it():
    assert list(chest_flags(ct(chest=6, abdomen=4), ("liver", "heart_atrium_left"))) == []
    assert list(chest_flags(ct(chest=6, abdomen=4), ("lung_upper_lobe_left",))) == []


def test_segment_warns_of_a_chest(run_cli, tmp_path):
    publish_tiny("ref")
    volume = painted_volume()
    hu = np.where(volume.array == 0, np.int16(40), volume.array)
    hu[:, :4], hu[:, 28:] = -1000, -800
    write_volume(tmp_path / "chest.nii.gz", volume.like(hu))
    options = ("-o", tmp_path / "mask.nii.gz", "--model", "ref", "--no-propagation")
    outcome = run_cli("segment", tmp_path / "chest.nii.gz", *options)
    assert outcome.code == 0, outcome.stderr
    flags = json.loads((tmp_path / "mask.json").read_text())["flags"]
    assert [flag["text"][:27] for flag in flags if flag["code"] == "chest"] == ["lungs fill 12 of 12 slices:"]
    assert "is it a CT of the chest?" in outcome.stdout


def test_an_empty_slice_shows_no_lungs():
    assert list(chest_flags(np.full((3, 8, 8), -1024, dtype=np.int16), ABDOMEN)) == []


@pytest.mark.parametrize(
    ("name", "flagged"),
    [
        ("totalsegmentator/pulmonary_ct_cropped.nii.gz", True),
        ("totalsegmentator/aorta_ct_cropped.nii.gz", True),
        ("totalsegmentator/example_ct.nii.gz", False),
        ("cptac_pda/C3L-00189_ct.nii.gz", False),
    ],
)
def test_real_chests_are_told_from_real_abdomens(shared_data, name, flagged):
    assert bool(list(chest_flags(read_volume(shared_data / name).array, FLARE22.names))) == flagged
