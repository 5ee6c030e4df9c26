"""HU with an offset is known where it is plain, and true HU is never shifted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from flarekit.config.phantom import RECIPES
from flarekit.phantom import canonical_volume, paint, synthetic_anatomy
from flarekit.volumes import read_volume, write_volume
from flarekit.volumes.hu import find_offset, take_off

REAL = (
    "totalsegmentator/example_ct.nii.gz",
    "totalsegmentator/aorta_ct_cropped.nii.gz",
    "totalsegmentator/pulmonary_ct_cropped.nii.gz",
    "totalsegmentator/example_ct_dicom",
    "cptac_pda/C3L-00189_ct.nii.gz",
    "dcmqi_ct3slice",
)


def disguises(hu: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What people make of true HU."""
    yield "as it is", hu
    yield "without what lies below 0", np.maximum(hu, 0)
    yield "bone alone", np.where(hu > 300, hu, 0)
    yield "dense bone alone", np.where(hu > 800, hu, 0)
    yield "soft tissue alone, air padded with -2000", np.where(hu > -300, hu, -2000)
    yield "clipped to a window", np.clip(hu, 0, 1200)


def crops(hu: np.ndarray, number: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        low = [int(rng.integers(0, n)) for n in hu.shape]
        high = [int(rng.integers(start, n)) + 1 for start, n in zip(low, hu.shape, strict=True)]
        yield hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


@cache
def painted(recipe: str, seed: int) -> np.ndarray:
    anatomy = synthetic_anatomy(seed, (8.0, 3.2, 3.4), (36, 100, 110))
    return paint(anatomy, (8.0, 3.2, 3.4), RECIPES[recipe], seed)


@pytest.mark.parametrize("name", REAL)
def test_real_cts_are_never_shifted_and_their_offset_is_found(shared_data, name):
    hu = read_volume(shared_data / name, hu_offset=0).array
    assert find_offset(hu + 1024) == 1024
    assert find_offset(np.maximum(hu, -1024) + 1024) == 1024
    for crop in crops(hu, 25):
        assert [what for what, values in disguises(crop) if find_offset(values)] == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("recipe", ["plain", "randomised"])
def test_painted_cts_are_never_shifted(recipe, seed):
    for crop in [painted(recipe, seed), *crops(painted(recipe, seed), 25)]:
        assert [what for what, values in disguises(crop) if find_offset(values)] == []


@pytest.mark.parametrize("seed", range(3))
def test_the_offset_of_painted_cts_is_found(seed):
    hu = painted("plain", seed)
    assert find_offset(hu + 1024) == find_offset(np.maximum(hu, -1024) + 1024) == 1024
    padded = hu + 1024
    padded[:, :20] = -2000
    assert find_offset(padded) == 1024


def test_true_hu_with_both_peaks_but_another_shape_is_left_alone():
    rng = np.random.default_rng(0)
    bone = np.maximum(rng.normal(700, 350, (30, 40, 50)), 1).astype(np.int16)
    bone[:, :20] = 0
    assert find_offset(bone) == 0
    thin = painted("plain", 0) + np.int16(1024)
    thin[rng.random(thin.shape) < 0.02] = -500
    thin[0, 0, 0] = -2000
    assert find_offset(thin) == 0


def test_too_few_voxels_say_nothing():
    assert find_offset(painted("plain", 0)[10:12] + 1024) == 1024
    assert find_offset(painted("plain", 0)[10:11] + 1024) == 0


def test_what_is_taken_off_never_wraps_around():
    hu = np.array([[[-32768, 0, 24, 32767]]], dtype=np.int16)
    take_off(hu, 1024)
    assert hu.tolist() == [[[-32768, -1024, -1000, 31743]]]
    take_off(hu, -32768)
    assert hu.tolist() == [[[0, 31744, 31768, 32767]]]


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Messages reach pytest whatever command line ran before."""
    monkeypatch.setattr(logging.getLogger("flarekit"), "propagate", True)


@pytest.fixture
def shifted(tmp_path) -> Path:
    """A painted CT stored with the offset."""
    write_volume(tmp_path / "ct.nii.gz", canonical_volume(painted("plain", 0) + np.int16(1024), (8.0, 3.2, 3.4)))
    return tmp_path / "ct.nii.gz"


def test_a_volume_with_the_offset_is_read_as_hu_with_one_warning(shifted, caplog):
    volume = read_volume(shifted)
    assert volume.hu_offset == 1024 and np.array_equal(volume.array, painted("plain", 0))
    assert volume.array.dtype == np.int16 and volume.like(volume.array).hu_offset == 1024
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == ["holds HU + 1024"]


def test_the_offset_can_be_left_or_stated(shifted, caplog):
    left, stated = read_volume(shifted, hu_offset=0), read_volume(shifted, hu_offset=1000)
    assert left.hu_offset == 0 and np.array_equal(left.array, painted("plain", 0) + 1024)
    assert stated.hu_offset == 1000 and np.array_equal(stated.array, painted("plain", 0) + 24)
    assert not caplog.records


def test_an_8_bit_image_is_named_and_left_as_it_is(tmp_path, caplog):
    bits = (np.clip(painted("plain", 0), -150, 250) + 150) * 255 // 400
    write_volume(tmp_path / "ct.nii.gz", canonical_volume(bits.astype(np.uint8), (8.0, 3.2, 3.4)))
    volume = read_volume(tmp_path / "ct.nii.gz")
    assert volume.hu_offset == 0 and volume.array.max() == 255
    assert "8-bit image, not HU" in caplog.text
