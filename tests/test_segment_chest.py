"""A CT of the chest says that it is none of the abdomen."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.pipeline.chest import chest_flags
from flarekit.volumes import read_volume


def ct(chest: int, abdomen: int) -> np.ndarray:
    """A body of 40 HU in air; in the slices of the chest two fifths of it are lungs."""
    hu = np.full((chest + abdomen, 20, 20), -1000, dtype=np.int16)
    hu[:, 5:15, 5:15] = 40
    hu[abdomen:, 7:11, 5:15] = -800
    return hu


def test_a_ct_of_mostly_lungs_is_flagged_as_a_whole():
    (flag,) = chest_flags(ct(chest=6, abdomen=4))
    assert (flag.severity, flag.code, flag.organ) == ("warning", "chest", None)
    assert flag.text.startswith("lungs fill 6 of 10 slices: is it a CT of the chest?")


def test_lungs_over_an_abdomen_are_not_flagged():
    assert list(chest_flags(ct(chest=5, abdomen=5))) == []


def test_an_empty_slice_shows_no_lungs():
    assert list(chest_flags(np.full((3, 8, 8), -1024, dtype=np.int16))) == []


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
    assert bool(list(chest_flags(read_volume(shared_data / name).array))) == flagged
