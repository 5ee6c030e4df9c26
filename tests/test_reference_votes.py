"""What networks would draw each by itself, and how far that agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segmentation_doubles import ORGANS, Reader, loaded, painted_volume

from flarekit.config.segment import SegmentConfig
from flarekit.data.slices import VolumeSlices
from flarekit.pipeline import segment
from flarekit.pipeline.segmentation import Assembly, confidence_of
from flarekit.reference import ReferenceModule, Votes


def drawn(*rows: list[int]) -> torch.Tensor:
    """Probabilities (1, 3, H, W) of a network that is certain of these classes."""
    return torch.nn.functional.one_hot(torch.tensor(rows), 3).permute(2, 0, 1)[None].float()


def test_agreement_is_the_dice_of_two_drawings():
    votes = Votes(3)
    votes.add([drawn([0, 1, 1, 2, 2]), drawn([0, 0, 1, 2, 2])])
    assert votes.agreement.tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    votes.add([drawn([0, 0, 0, 2, 0]), drawn([0, 0, 0, 0, 0])])
    assert votes.agreement[2] == pytest.approx(2 * 2 / 5)


def test_of_three_networks_every_pair_counts():
    votes = Votes(2)
    one, other = torch.tensor([[[[0.2, 0.2]], [[0.8, 0.8]]]]), torch.tensor([[[[0.2, 0.9]], [[0.8, 0.1]]]])
    votes.add([one, one, other])  # class 1: 2, 2 and 1 pixels; alike 2 + 1 + 1 of 4 + 3 + 3
    assert votes.agreement[1] == pytest.approx(2 * 4 / 10)


def test_nobody_agrees_on_what_no_network_draws():
    votes = Votes(3)
    votes.add([drawn([0, 1]), drawn([0, 1])])
    assert votes.agreement is not None and votes.agreement.tolist() == [1, 1, 0]


def test_of_what_the_networks_only_draw_together_none_is_sure():
    votes, planes = Votes(3), [torch.tensor([0.6, 0.0, 0.4]), torch.tensor([0.0, 0.6, 0.4])]
    votes.add([each.reshape(1, 3, 1, 1) for each in planes])
    assert sum(planes).argmax() == 2 and votes.agreement is not None
    assembly = Assembly((1, 1, 1), ORGANS)
    assembly.add_propagated(0, np.array([[2]], dtype=np.uint8), [2], np.array([0.9]))
    pea = assembly.organs(0.1, votes.agreement)[1]
    assert (pea.certainty, pea.agreement, pea.confidence) == (0.9, 0, 0)


def test_an_organ_that_is_nowhere_has_no_agreement_either():
    block, pea = Assembly((1, 1, 1), ORGANS).organs(0.1, np.array([1.0, 0.4, 0.0]))
    assert block.agreement is None and pea.agreement is None


def test_one_network_agrees_with_nobody():
    votes = Votes(3)
    votes.add([drawn([0, 1])])
    assert votes.agreement is None
    (block, _) = segment(painted_volume(), ReferenceModule(loaded(Reader())), None, SegmentConfig()).organs
    assert block.agreement is None and block.confidence == block.certainty


def test_the_reference_module_tells_the_votes_and_its_probabilities_stay_the_same():
    module = ReferenceModule(loaded(Reader(), Reader(blind=(2,))))
    slices, votes = VolumeSlices(painted_volume(), module.preprocessing), Votes(3)
    with_votes = [planes for _, planes in module.probabilities(slices, range(12), votes)]
    without = [planes for _, planes in module.probabilities(slices, range(12))]
    assert all(torch.equal(a, b) for a, b in zip(with_votes, without, strict=True))
    assert votes.agreement.tolist() == pytest.approx([1, 1, 0], abs=0.01)  # the blind one takes the pea for background


def test_an_organ_that_one_network_alone_sees_is_not_sure():
    module = ReferenceModule(loaded(Reader(), Reader(), Reader(blind=(2,))))
    block, pea = segment(painted_volume(), module, None, SegmentConfig()).organs
    assert block.agreement == block.confidence == pytest.approx(1, abs=1e-3)
    assert pea.certainty == pytest.approx(2 / 3, abs=1e-2)
    assert pea.agreement == pytest.approx(0.5)  # 100 pixels twice: alike once, of 2 + 1 + 1 hundreds
    assert pea.confidence == pytest.approx((2 / 3 * 0.5) ** 0.5, abs=1e-2)


def test_confidence_without_agreement_is_certainty():
    assert confidence_of(0.9, None) == 0.9
    assert confidence_of(None, 0.5) is None
    assert confidence_of(0.9, 0.4) == pytest.approx(0.6)
    assert confidence_of(0.9, 0.0) == 0.0
