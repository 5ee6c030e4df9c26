"""Agreement with the consensus, worked out by hand on masks of a few pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flarekit.consensus import AgreementCounter
from flarekit.consensus.pseudolabel import judge
from flarekit.consensus.score import Agreement, vote

CONSENSUS = np.array([[0, 1, 1, 1], [2, 2, 0, 0]], dtype=np.uint8)
FIRST = np.array([[0, 1, 1, 0], [2, 2, 0, 0]], dtype=np.uint8)  # organ 1: 2*2/(2+3); organ 2: exact
SECOND = np.array([[0, 1, 1, 1], [0, 0, 3, 0]], dtype=np.uint8)  # organ 1: exact; organ 2: none; organ 3: its own


def counted(*slices) -> Agreement:
    counter = AgreementCounter(models=2, organs=4)
    for masks, consensus in slices:
        counter.add(masks, consensus)
    return counter.agreement()


def test_dice_is_taken_model_by_model_and_organ_by_organ():
    agreement = counted(([FIRST, SECOND], CONSENSUS))
    # Organ 3 is in the second model alone: no agreement. Organ 4 is nowhere: left out.
    np.testing.assert_allclose(agreement.dice, [[0.8, 1.0, np.nan, np.nan], [1.0, 0.0, 0.0, np.nan]], equal_nan=True)
    assert agreement.mean == pytest.approx((0.8 + 1.0 + 1.0 + 0.0 + 0.0) / 5)
    assert agreement.of_model(0) == pytest.approx(0.9)
    assert agreement.of_organ(0) == pytest.approx(0.9)
    assert agreement.of_organ(3) is None


def test_slices_are_pooled_into_one_dice_for_the_case():
    empty = np.zeros_like(CONSENSUS)
    agreement = counted(([FIRST, SECOND], CONSENSUS), ([empty, empty], CONSENSUS))
    assert agreement.dice[0, 0] == pytest.approx(2 * 2 / (2 + 6))
    assert agreement.dice[1, 0] == pytest.approx(2 * 3 / (3 + 6))


def test_the_consensus_is_the_largest_sum_not_the_majority():
    # Pixels: two of three models lean to class 1, the third is sure of class 2.
    weak, sure = torch.tensor([0.0, 0.55, 0.45]), torch.tensor([0.0, 0.1, 0.9])
    masks, consensus = vote([p[:, None, None].expand(3, 2, 5) for p in (weak, weak, sure)])
    assert [int(mask[1, 4]) for mask in masks] == [1, 1, 2]
    assert consensus.shape == (2, 5) and (consensus == 2).all() and consensus.dtype == np.uint8


@pytest.mark.parametrize(
    ("dice", "threshold", "kept", "reason"),
    [
        ([[0.9, 0.95]], 0.9, True, "mean Dice 0.925 reaches 0.9"),
        ([[0.9, 0.9]], 0.9, True, "mean Dice 0.900 reaches 0.9"),
        ([[0.9, 0.8]], 0.9, False, "mean Dice 0.850 lies below 0.9"),
        ([[np.nan, np.nan]], 0.0, False, "no model found any organ"),
    ],
)
def test_a_case_is_kept_when_its_mean_reaches_the_threshold(dice, threshold, kept, reason):
    assert judge(Agreement(dice=np.array(dice)), threshold) == (kept, reason)
