"""Measurements of organs, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.check.findings import ERROR, NOTE, WARNING, Finding
from flarekit.report.statistics import NOT_FOUND, NOT_HU, NOT_MM, Units, measure
from flarekit.volumes import Volume

SHAPE = (6, 10, 14)  # z, h, w


def volume(hu: np.ndarray) -> Volume:
    return Volume.from_source(hu.astype(np.int16).transpose(2, 1, 0), np.diag([-0.5, -2.0, 3.0, 1.0]))


@pytest.fixture
def classes() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[2:4, 3:6, 4:9] = 1
    return mask


def test_hu_of_an_organ_are_those_of_its_voxels_alone(classes):
    hu = np.full(SHAPE, -1000)
    hu[classes == 1] = np.arange(30) ** 2
    stats = measure(volume(hu), classes, [1])[1]
    values = np.arange(30) ** 2
    assert stats.mean_hu == pytest.approx(values.mean()) and stats.sd_hu == pytest.approx(values.std())
    assert stats.median_hu == np.median(values)
    assert measure(volume(hu), classes[:, ::-1], [1])[1].mean_hu < 0


def test_the_extent_is_that_of_the_box_in_mm_up_back_and_across(classes):
    assert measure(volume(np.zeros(SHAPE)), classes, [1])[1].extent_mm == (2 * 3.0, 3 * 2.0, 5 * 0.5)


def test_pieces_are_apart_where_not_even_corners_touch(classes):
    classes[4, 6, 9] = 1  # by a corner
    assert measure(volume(np.zeros(SHAPE)), classes, [1])[1].pieces == 1
    classes[4, 6, 11] = 1
    assert measure(volume(np.zeros(SHAPE)), classes, [1])[1].pieces == 2


@pytest.mark.parametrize(
    ("place", "side"),
    [
        (np.s_[0, 4, 5], "bottom"),
        (np.s_[5, 4, 5], "top"),
        (np.s_[2, 0, 5], "front"),
        (np.s_[2, 9, 5], "back"),
        (np.s_[2, 4, 0], "right"),
        (np.s_[2, 4, 13], "left"),
    ],
)
def test_an_organ_that_the_field_of_view_ends_in_says_where(classes, place, side):
    hu = volume(np.zeros(SHAPE))
    assert measure(hu, classes, [1])[1].cut_at == ()
    classes[place] = 1
    assert measure(hu, classes, [1])[1].cut_at == (side,)


def test_the_circle_of_the_scan_cuts_too(classes):
    hu = np.zeros(SHAPE)
    hu[:, :, :3] = -2000
    assert measure(volume(hu), classes, [1])[1].cut_at == ()
    hu[2, 4, 3] = -2000
    assert measure(volume(hu), classes, [1])[1].cut_at == ("scan circle",)


def test_what_cannot_be_known_is_none_with_its_reason(classes):
    stats = measure(volume(np.zeros(SHAPE)), classes, [1, 2], Units(are_hu=False))
    assert stats[2].mean_hu is stats[2].extent_mm is stats[2].cut_at is None
    assert set(stats[2].reasons.values()) == {NOT_FOUND} and stats[2].to_json()["pieces"] is None
    assert stats[1].median_hu is None and stats[1].reasons["median_hu"] == NOT_HU
    assert stats[1].pieces == 1
    stats = measure(volume(np.zeros(SHAPE)), classes, [1], Units(are_mm=False))[1]
    assert stats.extent_mm is None and stats.reasons == {"extent_mm": NOT_MM} and stats.median_hu == 0


def test_units_are_what_the_findings_leave():
    def finding(code: str, severity: str) -> Finding:
        return Finding(severity=severity, code=code, text=code)

    assert Units.of([finding("padding", NOTE), finding("clipped", WARNING)]) == Units()
    assert Units.of([finding("8-bit", ERROR)]) == Units(are_hu=False)
    assert Units.of([finding("offset", WARNING)]) == Units(are_hu=False), "kept by --hu-offset none"
    assert Units.of([finding("field-of-view", ERROR)]) == Units(are_mm=False)


def test_organs_that_were_not_asked_for_are_left_out(classes):
    classes[5, 5, 5] = 3
    assert list(measure(volume(np.zeros(SHAPE)), classes, [1])) == [1]
