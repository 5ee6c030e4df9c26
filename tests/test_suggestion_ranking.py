"""Which slice is suggested, on evidence whose answer is plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flarekit.config.suggestion import SuggestionConfig
from flarekit.suggestion import Evidence, rank
from flarekit.suggestion.evidence import Extent, largest_run

DEPTH = 41
CONFIG = SuggestionConfig(candidate_mm=1.0, coverage_weight=0.0)


def evidence(*organs: range, drawn: dict[int, tuple[int, ...]] | None = None, partial: bool = False) -> Evidence:
    """Organs of constant area on these slices, which propagation and reference both know; drawn on slices 4 mm apart.

    `drawn` says which organs (rows) every annotated slice shows; it is annotated for these alone if `partial`.
    """
    drawn = drawn or {}
    areas = np.zeros((len(organs), DEPTH))
    for row, slices in enumerate(organs):
        areas[row, list(slices)] = 100.0
    drawn_mm2 = np.zeros_like(areas)
    for z, rows in drawn.items():
        drawn_mm2[list(rows), z] = 100.0
    seen = drawn_mm2.any(axis=1, keepdims=True)
    return Evidence(
        spacing_mm=4.0,
        drawn=(drawn_mm2 > 0) | (np.isin(np.arange(DEPTH), list(drawn)) & (not partial)),
        drawn_mm2=drawn_mm2,
        reference_mm2=areas,
        propagated_mm2=areas * seen,
        disagreement=np.full_like(areas, np.nan),
        confidence=np.ones_like(areas),
    )


def test_the_first_slice_is_the_middle_of_the_only_organ():
    (suggestion,) = rank(evidence(range(20, 31)), 1, CONFIG).suggestions
    assert suggestion.z == 25
    (reason,) = suggestion.reasons
    assert (reason.organ, reason.distance_mm, reason.beyond) == (0, None, False)
    assert reason.share == pytest.approx(1 / 11)


def test_an_organ_that_was_never_drawn_comes_before_more_of_one_that_was():
    known = evidence(range(20), range(30, 33), drawn={10: (0,)})
    suggestion = rank(known, 1, CONFIG).suggestions[0]
    assert suggestion.z == 31 and suggestion.reasons[0].organ == 1


def test_slices_suggested_together_keep_apart():
    suggestions = rank(evidence(range(41)), 4, CONFIG).suggestions
    slices = sorted(suggestion.z for suggestion in suggestions)
    assert len(slices) == 4 and np.diff(slices).min() >= 5


def test_a_slice_where_the_directions_disagree_comes_first():
    known = evidence(range(41), drawn={0: (0,), 20: (0,), 40: (0,)})
    disagreement = np.zeros((1, DEPTH))
    disagreement[0, 26:35] = 0.8
    suggestion = rank(replace(known, disagreement=disagreement), 1, CONFIG).suggestions[0]
    assert 26 <= suggestion.z < 35
    assert suggestion.reasons[0].disagreement == pytest.approx(0.8)
    lower = rank(replace(known, disagreement=disagreement[:, ::-1]), 1, CONFIG).suggestions[0]
    assert 6 < lower.z < 15


def test_beyond_the_last_drawn_slice_is_farther_than_between_two():
    known = evidence(range(41), drawn={0: (0,), 25: (0,)})
    suggestion = rank(known, 1, CONFIG).suggestions[0]
    assert suggestion.z > 25
    assert suggestion.reasons[0].beyond
    assert suggestion.reasons[0].distance_mm == (suggestion.z - 25) * 4.0


def test_annotated_slices_are_never_suggested_and_suggestions_run_out():
    known = evidence(range(41), drawn=dict.fromkeys(range(0, 41, 2), (0,)))
    slices = [suggestion.z for suggestion in rank(known, 100, CONFIG).suggestions]
    assert len(set(slices)) == len(slices) == 20 and all(z % 2 for z in slices)


def test_a_slice_drawn_without_an_organ_casts_doubt_on_what_the_reference_sees_around_it():
    organs = range(4, 15), range(24, 35)
    fresh = Extent.of(evidence(*organs), CONFIG)
    drawn = Extent.of(evidence(*organs, drawn={9: ()}), CONFIG)
    assert fresh.weight.tolist() == [1, 1]
    assert drawn.weight[0] < 0.5 < drawn.weight[1]
    assert rank(evidence(*organs, drawn={9: ()}), 1, CONFIG).suggestions[0].z > 20


def test_without_any_evidence_slices_are_spread_evenly():
    nothing = evidence(range(0))
    config = SuggestionConfig(candidate_mm=1.0)
    first, *_ = suggestions = rank(nothing, 3, config).suggestions
    assert first.z == 20 and not first.reasons
    assert sorted(s.z for s in suggestions)[0] < 13 and sorted(s.z for s in suggestions)[-1] > 27


def test_only_the_run_of_slices_that_holds_most_is_believed():
    areas = np.array([5.0, 0, 2, 3, 1, 0, 4])
    assert largest_run(areas).tolist() == [0, 0, 2, 3, 1, 0, 0]
    assert not largest_run(np.zeros(4)).any()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="reach_mm is positive, got 0"):
        SuggestionConfig(reach_mm=0)
    with pytest.raises(ValueError, match="propagated_share lies in 0..1"):
        SuggestionConfig(propagated_share=1.5)
    with pytest.raises(ValueError, match="coverage_weight is at least 0, got -1"):
        SuggestionConfig(coverage_weight=-1)


def test_a_slice_drawn_for_one_organ_is_suggested_for_another():
    organs = range(20, 21), range(18, 23)
    whole = rank(evidence(*organs, drawn={20: (0,)}), 3, CONFIG)
    part = rank(evidence(*organs, drawn={20: (0,)}, partial=True), 3, CONFIG)
    assert whole.curve[20] == 0 and 20 not in [suggestion.z for suggestion in whole.suggestions]
    assert [suggestion.z for suggestion in part.suggestions][:1] == [20]
    assert [reason.organ for reason in part.suggestions[0].reasons] == [1]


def test_a_slice_drawn_for_one_organ_casts_no_doubt_on_another():
    organs = range(20), range(5, 12)
    whole, part = (Extent.of(evidence(*organs, drawn={9: (0,)}, partial=partial), CONFIG) for partial in (False, True))
    assert whole.weight[1] < 0.5 and part.weight[1] == 1.0
    assert not whole.shows[1, 9] and part.shows[1, 9]
