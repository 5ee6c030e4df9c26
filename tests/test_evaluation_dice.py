"""Dice on masks of a few voxels, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.evaluation.dice import (
    CaseScores,
    Overlap,
    dice,
    never_in_truth,
    organ_means,
    score_case,
    scored_organs,
)
from flarekit.evaluation.tables import scores_to_csv, scores_to_json
from flarekit.labels import IGNORE


def classes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def test_two_of_three_voxels_shared() -> None:
    # Organ 1: predicted 2, true 1, both 1: 2/3. Organ 2: predicted 1, true 2, both 1: 2/3.
    assert dice(classes(1, 1, 2, 0), classes(1, 2, 2, 0), 2).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_absent_from_both_scores_1_and_from_one_0() -> None:
    assert dice(classes(0, 1, 0), classes(0, 0, 2), 3).tolist() == [0, 0, 1]


def test_voxels_of_unknown_class_do_not_count() -> None:
    assert dice(classes(1, 1, 1), classes(1, IGNORE, IGNORE), 1).tolist() == [1]


def test_overlaps_of_slices_add_up_to_the_volume() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 4, (2, 3, 5, 7)).astype(np.uint8)
    parts = [Overlap.of(predicted[z], true[z], 3) for z in range(3)]
    np.testing.assert_allclose((parts[0] + parts[1] + parts[2]).dice, dice(predicted, true, 3))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        dice(classes(1, 1), classes(1, 1, 1), 1)


def test_scores_of_cases_become_a_dictionary_and_a_table() -> None:
    first = score_case("a", classes(1, 0), classes(1, 2), ["liver", "spleen"])
    second = CaseScores(case="b", dice={"liver": 0.5, "spleen": 0.25})
    assert first.dice == {"liver": 1.0, "spleen": 0.0} and first.mean == 0.5
    assert organ_means([first, second]) == {"liver": 0.75, "spleen": 0.125}
    report = scores_to_json([first, second])
    assert report["mean"] == pytest.approx((0.5 + 0.375) / 2, abs=1e-4)
    assert report["organs"] == {"liver": 0.75, "spleen": 0.125}
    lines = "case,liver,spleen,mean\na,1.0000,0.0000,0.5000\nb,0.5000,0.2500,0.3750\n"
    assert scores_to_csv([first, second]) == lines


def test_no_case_has_no_mean() -> None:
    with pytest.raises(ValueError, match="case"):
        organ_means([])


def test_organs_are_listed_as_the_fullest_case_does_and_then_those_that_it_lacks() -> None:
    few = CaseScores(case="a", dice={"spleen": 1.0})
    most = CaseScores(case="b", dice={"liver": 1.0, "spleen": 1.0, "aorta": 1.0})
    others = CaseScores(case="c", dice={"stomach": 1.0, "liver": 1.0})
    assert scored_organs([few, others, most]) == ("liver", "spleen", "aorta", "stomach")


def test_scores_of_some_organs_leave_out_the_others_of_both_kinds() -> None:
    both = CaseScores(case="a", dice={"liver": 0.5, "spleen": 1.0}, nsd={"liver": 0.25, "spleen": 0.75})
    assert both.only({"liver"}) == CaseScores(case="a", dice={"liver": 0.5}, nsd={"liver": 0.25})


def test_an_organ_that_is_drawn_and_never_labelled_is_named():
    one = CaseScores(case="a", dice={"liver": 0.9, "spleen": 0.0, "aorta": 1.0}, absent=frozenset({"spleen", "aorta"}))
    other = CaseScores(case="b", dice={"liver": 0.0, "spleen": 1.0}, absent=frozenset({"spleen"}))
    labelled = CaseScores(case="c", dice={"spleen": 0.0})
    assert never_in_truth([one, other]) == ("spleen",)
    assert never_in_truth([one, other, labelled]) == ()
    assert one.only({"liver"}).absent == frozenset()
