"""Which cases and organs are trusted."""

from __future__ import annotations

import numpy as np
import pytest

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus.score import Scores, mean
from flarekit.consensus.trust import Verdict, ignore_untrusted, judge
from flarekit.labels import IGNORE

NAMES = ("liver", "spleen", "gallbladder")


def verdict(organs: list[list[float]], threshold: float, *, per_organ: bool = False, found=(1, 1, 1)) -> Verdict:
    values = np.array(organs, dtype=np.float64)
    config = ConsensusConfig(threshold=threshold, per_organ=per_organ)
    return judge(Scores(organs=values, case=mean(values)), np.array(found, dtype=bool), NAMES, config)


@pytest.mark.parametrize(
    ("dice", "threshold", "kept", "reason"),
    [
        ([[0.9, 0.95, 1.0]], 0.95, True, "mean Dice 0.950 reaches 0.95"),
        ([[0.9, 0.9, np.nan]], 0.9, True, "mean Dice 0.900 reaches 0.9"),
        ([[0.9, 0.8, np.nan]], 0.9, False, "mean Dice 0.850 lies below 0.9"),
    ],
)
def test_a_case_is_kept_when_its_score_reaches_the_threshold(dice, threshold, kept, reason):
    assert verdict(dice, threshold) == Verdict(kept=kept, reason=reason)


def test_a_case_in_which_nobody_finds_an_organ_is_rejected_whatever_the_threshold():
    result = verdict([[np.nan] * 3], 0.0, found=(0, 0, 0))
    assert result == Verdict(kept=False, reason="no member found any organ")
    assert not verdict([[np.nan] * 3], 0.0, found=(0, 0, 0), per_organ=True).kept


def test_without_the_round_before_nothing_is_known_of_a_case():
    result = judge(None, np.ones(3, dtype=bool), NAMES, ConsensusConfig(score="instability"))
    assert not result.kept and "previous round has no mask" in result.reason


def test_an_organ_below_the_threshold_is_ignored_and_the_others_are_kept():
    result = verdict([[0.95, 0.8, np.nan], [0.95, 0.6, np.nan]], 0.9, per_organ=True, found=(1, 1, 0))
    assert result == Verdict(kept=True, reason="1 of 2 organs reach 0.9; ignored: spleen 0.700", ignored=(2,))


def test_a_case_of_which_no_organ_is_trusted_is_rejected():
    result = verdict([[0.5, 0.8, np.nan]], 0.9, per_organ=True, found=(1, 1, 0))
    assert result == Verdict(kept=False, reason="no organ reaches 0.9: liver 0.500, spleen 0.800")


def test_an_organ_that_nobody_else_votes_on_is_not_trusted():
    result = verdict([[0.95, np.nan, np.nan]], 0.9, per_organ=True, found=(1, 1, 0))
    assert result == Verdict(kept=True, reason="1 of 2 organs reach 0.9; ignored: spleen without a score", ignored=(2,))
    assert not verdict([[np.nan] * 3], 0.0, per_organ=True, found=(1, 0, 0)).kept


def test_an_organ_that_is_nowhere_is_background_and_not_doubted():
    result = verdict([[0.95, np.nan, np.nan]], 0.9, per_organ=True, found=(1, 0, 0))
    assert result == Verdict(kept=True, reason="1 of 1 organs reach 0.9")


def test_what_anybody_takes_for_an_untrusted_organ_is_ignored_but_for_trusted_organs():
    consensus = np.array([[0, 0, 0, 1, 2, 2]], dtype=np.uint8)
    one_member = np.array([[0, 2, 1, 2, 2, 0]], dtype=np.uint8)
    # Pixel by pixel: nobody sees it; one member sees the untrusted 2; one sees the trusted 1; the trusted 1 stands.
    expected = [[0, IGNORE, 0, 1, IGNORE, IGNORE]]
    assert ignore_untrusted(consensus, [consensus, one_member], (2,)).tolist() == expected
    assert ignore_untrusted(consensus, [consensus], ()).tolist() == consensus.tolist()
