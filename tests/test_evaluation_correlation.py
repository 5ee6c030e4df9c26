"""Rank correlation and the gain of selecting, with intervals over anatomies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from flarekit.evaluation.correlation import best_share, spearman

SCORES = np.array([0.9, 0.8, 0.8, 0.3, 0.5, 0.7])
DICE = np.array([0.8, 0.9, 0.6, 0.2, 0.4, 0.4])
NAMES = list("abcdef")


def test_spearman_is_scipys_with_ties_at_their_mean_rank() -> None:
    found = spearman(SCORES, DICE, NAMES)
    assert found is not None
    assert found.value == pytest.approx(spearmanr(SCORES, DICE).statistic)
    assert found.low is not None and found.high is not None and found.low < found.value <= found.high


def test_three_cases_by_hand() -> None:
    found = spearman(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.9, 0.5]), NAMES[:3])
    assert found is not None and found.value == pytest.approx(0.5)  # 1 - 6 * (0 + 1 + 1) / (3 * 8)


def test_copies_of_an_anatomy_make_the_interval_no_narrower() -> None:
    once = spearman(SCORES, DICE, NAMES)
    four_times = spearman(np.tile(SCORES, 4), np.tile(DICE, 4), NAMES * 4)
    assert once is not None and four_times is not None
    assert (four_times.low, four_times.high) == pytest.approx((once.low, once.high))


def test_the_same_seed_gives_the_same_interval_and_one_anatomy_gives_none() -> None:
    assert spearman(SCORES, DICE, NAMES, seed=3) == spearman(SCORES, DICE, NAMES, seed=3)
    alone = spearman(SCORES, DICE, ["a"] * 6)
    assert alone is not None and alone.low is None and str(alone) == f"{alone.value:.3f}"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_cases_have_no_correlation(count: int) -> None:
    assert spearman(SCORES[:count], DICE[:count], NAMES[:count]) is None


def test_constant_values_have_no_correlation() -> None:
    assert spearman(np.ones(6), DICE, NAMES) is None
    assert spearman(SCORES, np.ones(6), NAMES) is None


def test_the_best_scored_share_by_hand() -> None:
    found = best_share(SCORES, DICE, NAMES, share=0.5)
    assert found.cases == 3
    assert found.dice == pytest.approx((0.8 + 0.9 + 0.6) / 3)
    assert found.gain.value == pytest.approx((0.8 + 0.9 + 0.6) / 3 - 3.3 / 6)


def test_a_share_holds_one_case_at_least_and_all_of_them_gain_nothing() -> None:
    assert best_share(SCORES, DICE, NAMES, share=0.01).cases == 1
    everything = best_share(SCORES, DICE, NAMES, share=1.0)
    assert (everything.cases, everything.gain.value) == (6, pytest.approx(0.0))
    assert (everything.gain.low, everything.gain.high) == pytest.approx((0.0, 0.0))


def test_equal_scores_count_in_equal_parts_whatever_order_cases_come_in() -> None:
    nothing = best_share(np.zeros(6), DICE, NAMES, share=0.5)
    assert nothing.dice == pytest.approx(DICE.mean())
    assert (nothing.gain.value, nothing.gain.low, nothing.gain.high) == pytest.approx((0.0, 0.0, 0.0))
    tied = best_share(SCORES, DICE, NAMES, share=0.34)  # the best one, and one of the two that are equal
    assert (tied.cases, tied.dice) == (2, pytest.approx((0.8 + (0.9 + 0.6) / 2) / 2))
    turned = best_share(SCORES[::-1], DICE[::-1], NAMES[::-1], share=0.34)
    assert turned.dice == pytest.approx(tied.dice) and turned.gain.value == pytest.approx(tied.gain.value)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        best_share(np.zeros(0), np.zeros(0), [], share=0.7)
