"""Votes on a slice, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flarekit.consensus.vote import Decision, Vote, certain_alone, decide, mean_probabilities
from flarekit.labels import IGNORE


def sure(*classes: int) -> Vote:
    """A label map of one row."""
    return Vote(classes=np.array([classes], dtype=np.uint8))


def unsure(*pixels: tuple[float, ...]) -> Vote:
    """Probabilities of a row of pixels, each over the classes."""
    planes = torch.tensor(pixels, dtype=torch.float32).T[:, None]
    return Vote(classes=planes.argmax(dim=0).to(torch.uint8).numpy(), probabilities=planes)


def row(decision: Decision) -> list[int]:
    return decision.consensus[0].tolist()


WEAK, STRONG = (0.0, 0.55, 0.45), (0.0, 0.1, 0.9)


def test_the_largest_sum_of_probabilities_may_overrule_the_most_votes():
    votes = [unsure(WEAK), unsure(WEAK), unsure(STRONG)]
    assert row(decide(votes, 3, "probabilities")) == [2]
    assert row(decide(votes, 3, "majority")) == [1]


def test_a_label_map_votes_with_probability_one():
    votes = [sure(1), unsure((0.45, 0.0, 0.55)), unsure((0.45, 0.0, 0.55))]
    assert row(decide(votes, 3, "probabilities")) == [2]  # 1.1 against 1.0 and 0.9
    votes = [sure(1), unsure((0.52, 0.0, 0.48)), unsure((0.4, 0.11, 0.49))]
    assert row(decide(votes, 3, "probabilities")) == [1]  # 1.11 against 0.97 and 0.92


def test_as_many_votes_are_told_apart_by_probability_and_then_by_order():
    assert row(decide([unsure((0.0, 0.6, 0.4)), unsure((0.1, 0.0, 0.9))], 3, "majority")) == [2]
    assert row(decide([sure(2, 0, 1), sure(1, 2, 0)], 3, "majority")) == [1, 0, 0]
    assert row(decide([sure(2, 0, 1), sure(1, 2, 0)], 3, "probabilities")) == [1, 0, 0]


def test_of_two_unlike_pixels_each_is_decided_for_itself():
    votes = [unsure(WEAK, STRONG, STRONG), unsure(WEAK, WEAK, WEAK), sure(1, 1, 2)]
    assert row(decide(votes, 3, "probabilities")) == [1, 1, 2]


@pytest.mark.parametrize("combine", ["probabilities", "majority"])
def test_counting_only_what_is_disputed_is_counting_everything(combine):
    generator = torch.Generator().manual_seed(3)
    planes = [torch.rand(4, 5, 7, generator=generator).softmax(dim=0) for _ in range(3)]
    votes = [Vote(classes=p.argmax(dim=0).to(torch.uint8).numpy(), probabilities=p) for p in planes]
    decision = decide(votes, 4, combine)
    weights = [p + 4 * torch.nn.functional.one_hot(p.argmax(0), 4).permute(2, 0, 1) for p in planes]
    counted = planes if combine == "probabilities" else weights
    np.testing.assert_array_equal(decision.consensus, sum(counted).argmax(dim=0).numpy())
    for m, others in enumerate(decision.others):
        rest = sum(plane for k, plane in enumerate(counted) if k != m)
        np.testing.assert_array_equal(others, rest.argmax(dim=0).numpy())


def test_of_two_members_the_others_of_each_are_the_other():
    first, second = sure(0, 1, 2), sure(2, 1, 0)
    decision = decide([first, second], 3, "probabilities")
    np.testing.assert_array_equal(decision.others[0], second.classes)
    np.testing.assert_array_equal(decision.others[1], first.classes)


def test_who_ignores_a_voxel_abstains_and_where_all_do_nobody_knows():
    votes = [sure(IGNORE, IGNORE, 1), sure(2, IGNORE, IGNORE), sure(2, IGNORE, 2)]
    decision = decide(votes, 3, "majority")
    assert row(decision) == [2, IGNORE, 1]
    assert decision.others[1][0].tolist() == [2, IGNORE, 1]
    assert decision.others[2][0].tolist() == [2, IGNORE, 1]


def test_the_mean_is_over_those_who_vote():
    votes = [sure(1, IGNORE, IGNORE), unsure((0.5, 0.5), (0.2, 0.8), (1.0, 0.0)), sure(0, 1, IGNORE)]
    mean = mean_probabilities(votes, 2)
    torch.testing.assert_close(mean[1, 0], torch.tensor([0.5, 0.9, 0.0]))
    torch.testing.assert_close(mean.sum(dim=0), torch.ones(1, 3))
    nobody = mean_probabilities([sure(IGNORE), sure(IGNORE)], 4)
    torch.testing.assert_close(nobody, torch.full((4, 1, 1), 0.25))


def test_a_voxel_is_as_certain_as_the_members_are_of_its_own_class():
    votes = [unsure(STRONG, WEAK, STRONG), unsure(STRONG, WEAK, WEAK), sure(2, IGNORE, 2)]
    consensus, mean = decide(votes, 3, "probabilities").consensus, mean_probabilities(votes, 3)
    assert consensus.tolist() == [[2, 1, 2]]  # with 2.8 / 3, 0.55 of two that vote, and 2.35 / 3
    assert certain_alone(consensus, mean, 0.0).tolist() == [[2, 1, 2]]
    assert certain_alone(consensus, mean, 0.54).tolist() == [[2, 1, 2]]
    assert certain_alone(consensus, mean, 0.56).tolist() == [[2, IGNORE, 2]]
    assert certain_alone(consensus, mean, 0.8).tolist() == [[2, IGNORE, IGNORE]]


def test_of_a_voxel_that_nobody_votes_on_nothing_is_certain():
    votes = [sure(IGNORE), sure(IGNORE)]
    consensus, mean = decide(votes, 3, "majority").consensus, mean_probabilities(votes, 3)
    assert certain_alone(consensus, mean, 0.0).tolist() == [[IGNORE]]
