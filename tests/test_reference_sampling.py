"""Which slices the reference module sees, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.config.reference import SamplingConfig, SecondPassConfig
from flarekit.reference import doubtful_organs, second_look, uniform_slices
from flarekit.reference.evidence import OrganTable

SECOND = SecondPassConfig(max_slices=40, min_area_mm2=50.0, min_certainty=0.6, hint_probability=0.2)


def table(slices, area, certainty=None, peak=None) -> OrganTable:
    area_mm2 = np.array(area, dtype=np.float64)
    return OrganTable(
        slices=tuple(slices),
        area_mm2=area_mm2,
        certainty=np.where(area_mm2 > 0, 0.9, 0.0) if certainty is None else np.array(certainty),
        peak=np.where(area_mm2 > 0, 0.95, 0.0) if peak is None else np.array(peak),
    )


@pytest.mark.parametrize(
    ("depth", "spacing_mm", "config", "expected"),
    [
        (12, 5.0, SamplingConfig(), (0, 2, 4, 6, 8, 10)),  # 10 mm are two slices of 5 mm
        (12, 2.5, SamplingConfig(), (1, 5, 9)),  # centred: one slice before the first, two after the last
        (5, 7.0, SamplingConfig(), (0, 1, 2, 3, 4)),  # thicker than half of 10 mm: every slice
        (7, 1.0, SamplingConfig(every=3), (0, 3, 6)),
        (3, 1.0, SamplingConfig(every=9), (1,)),  # shallower than a step: the middle
        (1, 5.0, SamplingConfig(), (0,)),
    ],
)
def test_the_uniform_sample_is_centred_and_about_ten_millimetres_apart(depth, spacing_mm, config, expected):
    assert uniform_slices(depth, spacing_mm, config) == expected


def test_an_organ_is_doubtful_when_no_slice_shows_it_both_large_and_certain():
    areas = [[100, 100, 40, 0], [0, 60, 49, 0]]
    certainty = [[0.9, 0.5, 0.9, 0.0], [0.0, 0.59, 0.9, 0.0]]
    assert doubtful_organs(table((0, 4), areas, certainty), SECOND) == (1, 2, 3)


def test_no_second_look_without_doubt_or_when_it_is_off():
    good = table((1, 5, 9), [[100], [100], [0]])
    lost = table((1, 5, 9), [[0], [0], [0]])
    assert second_look(good, 11, SECOND) == ()
    assert second_look(lost, 11, SecondPassConfig(max_slices=0)) == ()


def test_a_hint_is_followed_to_the_sampled_neighbours():
    found = table((1, 5, 9), [[100, 0], [100, 0], [100, 0]], peak=[[0.9, 0.0], [0.9, 0.1], [0.9, 0.3]])
    assert second_look(found, 12, SECOND) == (6, 7, 8, 10, 11)


def test_an_organ_without_a_hint_is_looked_for_halfway_where_there_are_organs():
    # Organs lie on slices 5 and 9 of 1, 5, 9, 13: the gaps before, between and after are halved, no other.
    found = table((1, 5, 9, 13), [[0, 0], [100, 0], [100, 0], [0, 0]])
    assert second_look(found, 16, SECOND) == (3, 7, 11)


def test_nothing_found_at_all_is_looked_for_everywhere():
    assert second_look(table((2, 6), [[0], [0]]), 9, SECOND) == (0, 4, 7)


def test_the_strongest_hint_comes_first_and_the_rest_is_thinned():
    peaks = [[0.3, 0.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    lost = table((1, 5, 9), [[0, 0, 0]] * 3, peak=peaks)
    few = SecondPassConfig(max_slices=3, min_area_mm2=50, min_certainty=0.6, hint_probability=0.2)
    assert second_look(lost, 12, few) == (3, 4, 6)  # nearest to slice 5, the lower of equals first
    halfway = table((1, 5, 9, 13), [[0]] * 4)
    assert second_look(halfway, 16, few) == (0, 7, 14)  # of 0, 3, 7, 11, 14
    assert len(second_look(halfway, 16, SecondPassConfig(max_slices=2))) == 2


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every_mm": 0.0}])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="got 0"):
        SamplingConfig(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"max_slices": -1}, {"min_area_mm2": -1.0}, {"min_certainty": 1.5}, {"hint_probability": -0.1}]
)
def test_an_impossible_second_pass_is_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        SecondPassConfig(**wrong)
