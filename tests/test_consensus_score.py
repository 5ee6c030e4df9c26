"""Scores of agreement, worked out by hand on masks of a few pixels."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.consensus.score import MODES, Scores
from flarekit.consensus.tally import Tally
from flarekit.labels import IGNORE

CONSENSUS = np.array([[0, 1, 1, 1], [2, 2, 0, 0]], dtype=np.uint8)
FIRST = np.array([[0, 1, 1, 0], [2, 2, 0, 0]], dtype=np.uint8)  # organ 1: 2*2/(2+3); organ 2: exact
SECOND = np.array([[0, 1, 1, 1], [0, 0, 3, 0]], dtype=np.uint8)  # organ 1: exact; organ 2: none; organ 3: its own
EMPTY = np.zeros_like(CONSENSUS)


def scored(mode: str, *slices, rows: int = 2) -> Scores:
    """Slices of (masks, references) from the lowest, over four organs."""
    tally = Tally(rows, 4, len(slices))
    for z, (masks, references) in enumerate(slices):
        tally.add(z, masks, references)
    return MODES[mode].scores(tally.counts())


def test_dice_is_taken_member_by_member_and_organ_by_organ():
    scores = scored("dice", ([FIRST, SECOND], [CONSENSUS] * 2))
    # Organ 3 is in the second mask alone: no agreement. Organ 4 is nowhere: left out.
    np.testing.assert_allclose(scores.organs, [[0.8, 1.0, np.nan, np.nan], [1.0, 0.0, 0.0, np.nan]])
    assert scores.case == pytest.approx((0.8 + 1.0 + 1.0 + 0.0 + 0.0) / 5)
    np.testing.assert_allclose(scores.organ_means, [0.9, 0.5, 0.0, np.nan])


def test_slices_are_pooled_into_one_dice_for_the_case():
    scores = scored("dice", ([FIRST, SECOND], [CONSENSUS] * 2), ([EMPTY, EMPTY], [CONSENSUS] * 2))
    assert scores.organs[0, 0] == pytest.approx(2 * 2 / (2 + 6))
    assert scores.organs[1, 0] == pytest.approx(2 * 3 / (3 + 6))


def test_leave_one_out_compares_each_with_a_reference_of_its_own():
    scores = scored("leave-one-out", ([FIRST, SECOND], [SECOND, FIRST]))
    np.testing.assert_allclose(scores.organs, [[0.8, 0.0, 0.0, np.nan], [0.8, 0.0, 0.0, np.nan]])


def test_the_authors_iou_is_the_mean_over_parts_and_counts_what_is_not_there_as_perfect():
    slices = [([FIRST], [CONSENSUS]), ([EMPTY], [CONSENSUS]), ([EMPTY], [EMPTY])]
    scores = scored("iou", *slices, rows=1)
    # Three parts of one slice: 2/3, 0 and, where both are empty, 1.
    np.testing.assert_allclose(scores.organs, [[(2 / 3 + 0 + 1) / 3, (1 + 0 + 1) / 3, 1, 1]])
    assert scores.case == pytest.approx((5 / 9 + 2 / 3 + 2) / 4)


def test_what_is_left_over_of_thirds_is_a_part_of_its_own_as_in_the_authors_code():
    # Seven slices: parts of two, two, two and one. The last alone disagrees.
    slices = [([CONSENSUS], [CONSENSUS])] * 6 + [([EMPTY], [CONSENSUS])]
    np.testing.assert_allclose(scored("iou", *slices, rows=1).organs[0, :2], [0.75, 0.75])


def test_stability_is_one_less_the_share_of_voxels_that_changed():
    scores = scored("instability", ([FIRST], [CONSENSUS]), rows=1)
    # One voxel of four that are an organ's now has changed; of organ 1, one of two.
    assert scores.case == pytest.approx(1 - 1 / 4)
    np.testing.assert_allclose(scores.organs, [[0.5, 1.0, np.nan, np.nan]])


def test_a_voxel_that_goes_from_one_organ_to_another_changed_once():
    before, now = np.array([[1, 1, 0, 0]], dtype=np.uint8), np.array([[1, 2, 0, 0]], dtype=np.uint8)
    scores = scored("instability", ([now], [before]), rows=1)
    assert scores.case == pytest.approx(1 - 1 / 2)
    np.testing.assert_allclose(scores.organs, [[0.0, 0.0, np.nan, np.nan]])


def test_more_change_than_organ_is_no_less_than_nothing():
    before, now = np.array([[1, 1, 1, 0]], dtype=np.uint8), np.array([[0, 0, 0, 1]], dtype=np.uint8)
    assert scored("instability", ([now], [before]), rows=1).case == 0.0


@pytest.mark.parametrize("mode", ["dice", "leave-one-out", "instability"])
def test_a_case_without_any_organ_has_no_score(mode):
    assert scored(mode, ([EMPTY], [EMPTY]), rows=1).case is None


def test_voxels_that_either_ignores_do_not_count():
    mask = np.array([[1, IGNORE, 1, 1]], dtype=np.uint8)
    reference = np.array([[1, 1, IGNORE, 0]], dtype=np.uint8)
    scores = scored("dice", ([mask], [reference]), rows=1)
    assert scores.organs[0, 0] == pytest.approx(2 * 1 / (2 + 1))
    assert scored("instability", ([mask], [reference]), rows=1).case == pytest.approx(1 - 1 / 2)
