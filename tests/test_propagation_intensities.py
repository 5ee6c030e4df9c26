"""HU around outlines as evidence, worked by hand, and what it does beside a network."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from flarekit.config.propagation import IntensityConfig, OutlineConfig
from flarekit.propagation.intensities import HIGHEST_HU, LOWEST_HU, Intensities
from flarekit.propagation.outlines import Outlines, Region

SIDE = 40
WHOLE: Region = (slice(0, SIDE), slice(0, SIDE))
SPACING_MM = (3.0, 1.0, 1.0)  # slices, rows, columns
PLAIN = IntensityConfig(limit=50.0, around_mm=5.0, noise_mm=0.0, spread_hu=0.0, doubt_px=1e-6)
EMPTY = np.zeros((SIDE, SIDE), dtype=np.uint8)


def square(first: int, stop: int, label: int = 1) -> np.ndarray:
    classes = EMPTY.copy()
    classes[first:stop, first:stop] = label
    return classes


def ct(*slices: np.ndarray | float) -> np.ndarray:
    """int16 (Z, SIDE, SIDE): a number is the HU of a whole slice."""
    return np.stack([np.broadcast_to(plane, (SIDE, SIDE)) for plane in slices]).astype(np.int16)


def intensities(
    hu: np.ndarray,
    annotated: dict[int, np.ndarray],
    config: IntensityConfig = PLAIN,
    known: dict[int, list[bool]] | None = None,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> Intensities:
    objects = max(1, *(int(classes.max()) for classes in annotated.values()))
    whose = {z: np.array((known or {}).get(z, [True] * objects)) for z in annotated}
    return Intensities(hu, spacing_mm, Outlines(annotated, whose, spacing_mm, OutlineConfig()), config)


def striped(odd: float, even: float) -> np.ndarray:
    """HU that change from row to row."""
    return np.where(np.arange(SIDE)[:, None] % 2, odd, even)


def test_odds_are_the_ratio_of_an_objects_share_of_a_hu_to_its_surroundings_share() -> None:
    classes = square(10, 20)
    hu = np.where(classes > 0, 100, np.where(np.arange(SIDE) % 4, 0, 100))  # every fourth column around is as bright
    away = distance_transform_edt(classes == 0)
    ring = (away > 0) & (away <= 5)
    around = (hu[ring] == 100).mean()
    odds = intensities(ct(hu, hu), {0: classes}).log_odds(1, 0, WHOLE)
    assert 0.2 < around < 0.3
    np.testing.assert_allclose(odds[hu == 100], math.log(1 / around), rtol=1e-4)
    assert (odds[hu == 0] < -10).all()


def test_what_lies_farther_than_around_says_nothing() -> None:
    classes = square(10, 20)
    near = np.pad(np.ones((20, 20)), ((5, 15), (5, 15)))
    hu = np.where(classes > 0, 100, np.where(near, 0, 100))  # as bright, but more than 5 mm outside
    assert intensities(ct(hu, hu), {0: classes}).log_odds(1, 0, WHOLE)[12, 12] > 10


def test_between_two_slices_the_nearer_one_tells_more() -> None:
    drawn = {0: square(10, 20), 4: square(10, 20)}
    hu = ct(np.where(drawn[0], 100, 0), 100, 100, 100, np.where(drawn[4], 0, 100))  # what was bright gets dark
    near, middle, far = (float(intensities(hu, drawn).log_odds(z, 0, WHOLE)[0, 0]) for z in (1, 2, 3))
    assert near == pytest.approx(math.log(3), rel=1e-2) and far == pytest.approx(-near)
    assert middle == pytest.approx(0, abs=1e-4)


def test_a_slice_without_the_object_tells_nothing_and_two_leave_it_open() -> None:
    hu = ct(np.where(square(10, 20), 100, 0), 100, 100, 100, 100)
    one = intensities(hu, {0: square(10, 20), 2: EMPTY, 4: EMPTY})
    assert one.log_odds(1, 0, WHOLE).min() > 10
    np.testing.assert_array_equal(one.log_odds(3, 0, WHOLE), np.zeros((SIDE, SIDE)))


def test_an_object_without_surroundings_says_nothing() -> None:
    hu = ct(100, 100)
    np.testing.assert_array_equal(intensities(hu, {0: EMPTY + 1}).log_odds(1, 0, WHOLE), np.zeros((SIDE, SIDE)))


def test_few_pixels_say_little() -> None:
    def said(side: int, doubt_px: float) -> float:
        classes = square(10, 10 + side)
        hu = ct(np.where(classes, 100, 0), 100)
        return float(intensities(hu, {0: classes}, replace(PLAIN, doubt_px=doubt_px)).log_odds(1, 0, WHOLE)[0, 0])

    assert said(2, 20.0) < said(10, 20.0) < said(10, 1.0)


def test_each_object_has_its_own_annotated_slices() -> None:
    drawn = {0: square(10, 20), 4: square(10, 20, label=2)}
    hu = ct(np.where(drawn[0], 100, 0), 100, 100, 100, np.where(drawn[4], 100, 0))
    model = intensities(hu, drawn, known={0: [True, False], 4: [False, True]})
    assert model.log_odds(3, 0, WHOLE).min() > 10 and model.log_odds(1, 1, WHOLE).min() > 10


def test_hu_beyond_the_bins_count_as_the_last_ones() -> None:
    classes = square(10, 20)
    hu = ct(np.where(classes, 3000, -1024), np.where(striped(1, 0), HIGHEST_HU - 1, LOWEST_HU))
    odds = intensities(hu, {0: classes}).log_odds(1, 0, WHOLE)
    assert (odds[1::2] > 10).all() and (odds[::2] < -10).all()


def test_noise_is_smoothed_away() -> None:
    classes = square(10, 20)
    noise = np.random.default_rng(0).normal(0, 80, (2, SIDE, SIDE))
    hu = (np.where(classes, 90, 0) + noise).astype(np.int16)

    def told_apart(noise_mm: float) -> float:
        odds = intensities(hu, {0: classes}, IntensityConfig(noise_mm=noise_mm)).log_odds(1, 0, WHOLE)
        return float(odds[classes > 0].mean() - odds[5:25, 5:25][classes[5:25, 5:25] == 0].mean())

    assert told_apart(1.5) > 1.5 * told_apart(0.0)


@pytest.mark.parametrize(("spacing_mm", "smooth"), [((3.0, 0.5, 4.0), True), ((3.0, 4.0, 0.5), False)])
def test_slices_are_smoothed_by_mm_along_either_axis(spacing_mm: tuple[float, float, float], smooth: bool) -> None:
    classes = square(5, 35)
    rows = ct(np.where(classes, 55, -200), striped(110, 0))
    odds = intensities(rows, {0: classes}, replace(PLAIN, noise_mm=1.0), spacing_mm=spacing_mm).log_odds(1, 0, WHOLE)
    assert bool((odds[5:-5] > 1).all()) == smooth


def test_neighbouring_hu_count_where_histograms_are_smoothed() -> None:
    classes = square(10, 20)
    hu = ct(np.where(classes, 100, 0), striped(115, 15))
    assert abs(intensities(hu, {0: classes}).log_odds(1, 0, WHOLE)).max() < 1e-3
    odds = intensities(hu, {0: classes}, replace(PLAIN, spread_hu=20.0)).log_odds(1, 0, WHOLE)
    assert (odds[1::2] > 1).all() and (odds[::2] < -1).all()


def test_odds_are_limited_and_a_part_of_a_slice_is_that_part_of_the_whole() -> None:
    classes = square(10, 20)
    model = intensities(ct(np.where(classes, 100, 0), striped(100, 0)), {0: classes}, replace(PLAIN, limit=1.5))
    odds = model.log_odds(1, 0, WHOLE)
    assert odds.max() == 1.5 == model.strongest and odds.min() == -1.5
    region = (slice(7, 18), slice(30, 40))
    np.testing.assert_array_equal(model.log_odds(1, 0, region), odds[region])


def test_a_ct_goes_with_its_odds_and_does_not_wait_for_the_garbage_collector() -> None:
    classes = square(10, 20)
    hu = ct(np.where(classes, 100, 0), 100)
    outlines = Outlines({0: classes}, {0: np.array([True])}, SPACING_MM, OutlineConfig())
    model = Intensities(hu, SPACING_MM, outlines, PLAIN)
    model.log_odds(1, 0, WHOLE)
    held = [weakref.ref(each) for each in (hu, outlines, model)]
    del hu, outlines, model
    assert [each() for each in held] == [None] * 3


@pytest.mark.parametrize("field", ["limit", "around_mm", "doubt_px"])
def test_settings_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(PLAIN, **{field: 0.0})
    with pytest.raises(ValueError, match="noise_mm"):
        replace(PLAIN, noise_mm=-1.0)
    with pytest.raises(ValueError, match="around_mm is at most 30, got 31"):
        replace(PLAIN, around_mm=31.0)
