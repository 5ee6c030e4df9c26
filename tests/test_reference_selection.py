"""The three ways to choose references, worked out by hand on four slices and three organs."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.config.reference import SELECTIONS, SelectionConfig
from flarekit.reference import select_references
from flarekit.reference.evidence import OrganTable
from flarekit.reference.selection import STRATEGIES, most_certain

TABLE = OrganTable(
    slices=(3, 8, 13, 18),
    #        organ 0, 1, 2; organ 2 is on no slice
    area_mm2=np.array([[90.0, 10.0, 0.0], [100.0, 0.0, 0.0], [70.0, 30.0, 0.0], [0.0, 40.0, 0.0]]),
    certainty=np.array([[0.8, 0.9, 0.0], [0.7, 0.0, 0.0], [0.9, 0.8, 0.0], [0.0, 0.6, 0.0]]),
    peak=np.ones((4, 3)),
)


def choose(strategy: str, slices_per_organ: int, max_references: int = 24) -> tuple[int, ...]:
    config = SelectionConfig(strategy=strategy, slices_per_organ=slices_per_organ, max_references=max_references)
    return select_references(TABLE, config)


def test_largest_area_takes_the_slices_where_each_organ_is_largest():
    assert choose("largest-area", 1) == (8, 18)
    assert choose("largest-area", 2) == (3, 8, 13, 18)


def test_most_classes_takes_the_slices_that_show_most_organs_and_area_breaks_the_tie():
    assert choose("most-classes", 1) == (3, 13)  # organ 0 is larger on 3, organ 1 on 13; both show two organs
    assert choose("most-classes", 3) == (3, 8, 13, 18)


def test_most_certain_leaves_out_slices_that_show_less_than_half_of_the_largest_area():
    assert choose("most-certain", 1) == (13,)  # organ 1 is most certain on slice 3, but 10 of 40 mm2 there
    assert choose("most-certain", 2) == (3, 13, 18)


@pytest.mark.parametrize(("area_mm2", "chosen"), [(49.0, 3), (50.0, 8)])
def test_half_of_the_largest_area_is_enough(area_mm2, chosen):
    table = OrganTable(
        slices=(3, 8),
        area_mm2=np.array([[100.0], [area_mm2]]),
        certainty=np.array([[0.6], [0.9]]),
        peak=np.ones((2, 1)),
    )
    assert most_certain(table).argmax() == [3, 8].index(chosen)


def test_the_bound_keeps_every_organs_best_before_any_second_best():
    assert choose("largest-area", 2, max_references=2) == (8, 18)
    # Second best are slice 3 for organ 0 and 13 for organ 1: one vote each, the lower one is taken.
    assert choose("largest-area", 2, max_references=3) == (3, 8, 18)


def test_the_choice_of_more_organs_goes_first_when_the_bound_cuts_a_round():
    area_mm2 = np.array([[9.0, 0.0, 0.0], [0.0, 5.0, 5.0]])
    two = OrganTable(slices=(0, 1), area_mm2=area_mm2, certainty=area_mm2 / 10, peak=area_mm2 / 10)
    assert select_references(two, SelectionConfig(slices_per_organ=1, max_references=1)) == (1,)


def test_no_organ_gives_no_reference():
    empty = np.zeros((2, 3))
    nothing = OrganTable(slices=(0, 5), area_mm2=empty, certainty=empty, peak=empty)
    for strategy in SELECTIONS:
        assert select_references(nothing, SelectionConfig(strategy=strategy)) == ()


def test_every_named_strategy_exists():
    assert tuple(STRATEGIES) == SELECTIONS


@pytest.mark.parametrize("wrong", [{"strategy": "largest"}, {"slices_per_organ": 0}, {"max_references": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        SelectionConfig(**wrong)
