"""Outlines as evidence, worked by hand, and where it leads beside a network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from flarekit.config.propagation import OutlineConfig
from flarekit.propagation.outlines import BAND_MM, Outlines, Region

HEIGHT, WIDTH = 40, 50
WHOLE: Region = (slice(0, HEIGHT), slice(0, WIDTH))
HARD = OutlineConfig(blur_mm=1.0, blur_per_mm=0.0, limit=1000.0, fade_mm=1e9, absent_mm=4.0)
SPACING_MM = (3.0, 2.0, 0.5)  # slices, rows, columns


def half(column: int, label: int = 1) -> np.ndarray:
    """The label left of a column, on every row."""
    classes = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    classes[:, :column] = label
    return classes


def outlines(annotated: dict[int, np.ndarray], config: OutlineConfig = HARD, **known: list[bool]) -> Outlines:
    objects = max(1, *(int(classes.max()) for classes in annotated.values()))
    whose = {z: np.array(known.get(f"z{z}", [True] * objects)) for z in annotated}
    return Outlines(annotated, whose, SPACING_MM, config)


def row(lines: Outlines, z: int, k: int = 0) -> np.ndarray:
    return lines.log_odds(z, k, WHOLE)[7]


def test_on_an_annotated_slice_the_odds_are_the_distance_to_the_outline_in_blurs() -> None:
    odds = row(outlines({2: half(20)}, replace(HARD, blur_mm=0.25)), 2)
    assert odds[19] == pytest.approx(0.5 / 0.25) and odds[20] == pytest.approx(-0.5 / 0.25)
    assert odds[15] == pytest.approx(5 * 0.5 / 0.25)


def test_between_two_slices_distances_go_over_linearly() -> None:
    # 4.25 mm of the columns lie between the outlines: a quarter of the way, a quarter of that.
    lines = outlines({0: half(10), 4: half(20)})
    np.testing.assert_allclose(row(lines, 1)[10:13], [0.75 * -0.5 + 0.25 * 5, 0.75 * -1 + 0.25 * 4.5, -0.125])
    assert np.flatnonzero(row(lines, 2) > 0)[-1] == 14


def test_far_from_annotated_slices_odds_are_softer_and_weaker() -> None:
    config = replace(HARD, blur_per_mm=0.5, fade_mm=6.0)
    # Slice 4 is 6 mm from the annotated one: blurs of 1 + 3 mm, weakened by e.
    assert row(outlines({2: half(20)}, config), 4)[15] == pytest.approx(5 * 0.5 / 4 / math.e, rel=1e-5)


def test_odds_are_limited() -> None:
    odds = row(outlines({2: half(40)}, replace(HARD, limit=3.0)), 2)
    assert odds.max() == 3 and odds.min() == -3


def test_an_object_that_only_one_slice_shows_shrinks_towards_the_other() -> None:
    lines = outlines({0: half(20), 4: half(0)})
    widths = [int((row(lines, z) > 0).sum()) for z in range(5)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 20 and widths[4] == 0
    assert row(lines, 2)[0] == pytest.approx(0.5 * 20 * 0.5 - 0.5 * 4)


def test_beyond_the_last_annotated_slice_its_outline_stays() -> None:
    lines = outlines({2: half(20), 3: half(30)})
    np.testing.assert_array_equal(row(lines, 0) > 0, half(20)[7] > 0)
    np.testing.assert_array_equal(row(lines, 9) > 0, half(30)[7] > 0)


def test_each_object_has_its_own_annotated_slices() -> None:
    lines = outlines(
        {0: half(10), 2: half(20, label=2), 4: half(30)}, z0=[True, False], z2=[False, True], z4=[True, False]
    )
    assert np.flatnonzero(row(lines, 2, k=0) > 0)[-1] == 19  # half way from 10 to 30, whatever slice 2 holds
    assert np.flatnonzero(row(lines, 4, k=1) > 0)[-1] == 19


def test_a_part_of_a_slice_is_that_part_of_the_whole() -> None:
    classes = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    classes[20:26, 30:40] = 1
    lines = outlines({0: classes, 5: half(0)})
    for region in ((slice(3, 17), slice(2, 9)), (slice(18, 40), slice(25, 50)), (slice(22, 23), slice(33, 36))):
        np.testing.assert_array_equal(lines.log_odds(1, 0, region), lines.log_odds(1, 0, WHOLE)[region])


def test_far_outside_an_outline_distances_are_not_told_apart() -> None:
    classes = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    classes[:2] = 1
    assert outlines({0: classes}).log_odds(0, 0, WHOLE).min() == -BAND_MM
    classes[:, 1:] = 0  # a corner, of which the slice's other one lies 38 mm down and aside within the same rectangle
    assert outlines({0: classes}).log_odds(0, 0, WHOLE).min() == -BAND_MM


def test_an_object_that_fills_a_slice_is_as_likely_as_can_be_everywhere() -> None:
    odds = outlines({0: half(WIDTH)}, replace(HARD, limit=3.0)).log_odds(0, 0, WHOLE)
    np.testing.assert_array_equal(odds, np.full((HEIGHT, WIDTH), 3.0))


def test_no_odds_are_stronger_than_the_strongest_of_their_slice() -> None:
    lines = outlines({2: half(25)}, replace(HARD, limit=3.0, fade_mm=6.0))
    assert lines.strongest(2) == 3 and lines.strongest(4) == pytest.approx(3 / math.e)
    for z in (2, 4, 9):
        odds = lines.log_odds(z, 0, WHOLE)
        assert odds.max() == pytest.approx(lines.strongest(z)) and odds.min() == pytest.approx(-lines.strongest(z))


@pytest.mark.parametrize("field", ["blur_mm", "limit", "fade_mm"])
def test_settings_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(HARD, **{field: 0.0})
