"""Losses against answers worked by hand, an image at a time."""

from __future__ import annotations

import math

import pytest
import torch

from flarekit.labels import IGNORE
from flarekit.training.losses import (
    bootstrapped_cross_entropy,
    cross_entropy,
    dice_loss,
    lovasz_loss,
    marginal_log_probabilities,
    pseudo_labels,
    pseudo_supervision_loss,
    supervised_loss,
)


def planes(*class_one: float) -> torch.Tensor:
    """Probabilities (1, 2, 1, N) with these of class 1."""
    one = torch.tensor(class_one)[None, None]
    return torch.stack((1 - one, one), dim=1)


def truth(*classes: int) -> torch.Tensor:
    """Classes (1, 1, N)."""
    return torch.tensor(classes, dtype=torch.uint8)[None, None]


def test_dice_of_two_voxels_is_one_sixth() -> None:
    # Either class: overlap 0.75, sums 1 and 1, so 1 - (1.5 + 1) / (2 + 1).
    assert dice_loss(planes(0.75, 0.25), truth(1, 0), smoothing=1.0) == pytest.approx(1 / 6)


def test_dice_counts_only_the_classes_that_an_image_shows() -> None:
    assert dice_loss(planes(0.75, 0.25), truth(0, 0), smoothing=1.0) == pytest.approx(1 - (2 * 1 + 1) / (1 + 2 + 1))


def test_ignored_voxels_change_no_loss() -> None:
    known, known_truth = planes(0.75, 0.25), truth(1, 0)
    more, more_truth = planes(0.75, 0.25, 0.9), truth(1, 0, IGNORE)
    assert dice_loss(more, more_truth) == pytest.approx(dice_loss(known, known_truth).item())
    assert cross_entropy(more.log(), more_truth) == pytest.approx(cross_entropy(known.log(), known_truth).item())
    assert lovasz_loss(more, more_truth) == pytest.approx(lovasz_loss(known, known_truth).item())
    for share in (0.5, 1.0):
        assert bootstrapped_cross_entropy(more.log(), more_truth, share=share) == pytest.approx(
            bootstrapped_cross_entropy(known.log(), known_truth, share=share).item()
        )


def test_an_image_without_a_known_voxel_counts_nothing() -> None:
    both = torch.cat((planes(0.75, 0.25), planes(0.5, 0.5)))
    classes = torch.cat((truth(1, 0), truth(IGNORE, IGNORE)))
    assert cross_entropy(both.log(), classes).tolist() == pytest.approx([-math.log(0.75), 0.0])
    assert bootstrapped_cross_entropy(both.log(), classes, share=0.5).tolist() == pytest.approx([-math.log(0.75), 0.0])
    assert lovasz_loss(both, classes)[1] == dice_loss(both, classes)[1] == 0.0


def test_every_image_has_its_own_cross_entropy_over_its_known_voxels() -> None:
    probabilities = torch.cat((planes(0.5, 0.5, 0.5, 0.5), planes(0.25, 0.5, 0.5, 0.5)))
    classes = torch.cat((truth(1, 1, 0, 0), truth(1, IGNORE, IGNORE, IGNORE)))
    assert cross_entropy(probabilities.log(), classes).tolist() == pytest.approx([math.log(2), math.log(4)])


def test_an_image_has_the_same_loss_in_any_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator)
    classes = torch.randint(0, 4, (3, 5, 6), generator=generator, dtype=torch.uint8)
    classes[2] = IGNORE
    labelled = torch.tensor([[True] * 4, [True, True, False, True], [True] * 4])
    for loss in (
        lambda i: supervised_loss(logits[i], classes[i], smoothing=1.0, labelled=labelled[i]),
        lambda i: pseudo_supervision_loss(logits[i], logits[i].flip(1), smoothing=1.0),
        lambda i: bootstrapped_cross_entropy(logits[i].log_softmax(1), classes[i], share=0.3),
        lambda i: lovasz_loss(logits[i].softmax(1), classes[i]),
    ):
        together, alone = loss([0, 1, 2]), torch.cat([loss([image]) for image in range(3)])
        assert together.shape == (3,) and torch.allclose(together, alone)


def test_bootstrapping_keeps_the_hardest_half() -> None:
    probabilities, classes = planes(0.9, 0.5, 0.1, 0.8), truth(1, 1, 1, 1)
    expected = (-math.log(0.1) - math.log(0.5)) / 2
    assert bootstrapped_cross_entropy(probabilities.log(), classes, share=0.5) == pytest.approx(expected)


def test_lovasz_of_hard_masks_is_the_jaccard_loss() -> None:
    # Organ: 1 of 2 voxels found, Jaccard 1/2. Background: 2 in both, 3 in either, Jaccard 2/3.
    assert lovasz_loss(planes(1.0, 0.0, 0.0, 0.0), truth(1, 1, 0, 0)) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_lovasz_interpolates_linearly_between_hard_masks() -> None:
    # One voxel of the organ at 0.75 among background found surely: background's error is 0.25 of one lost voxel.
    # Organ: Jaccard falls to 0 with its only voxel, 0.25; background: 1 of 2 would be wrong, 0.25 * 1/2.
    assert lovasz_loss(planes(0.75, 0.0), truth(1, 0)) == pytest.approx((0.25 + 0.125) / 2)


def test_unlabelled_organs_join_the_background() -> None:
    labelled = torch.tensor([[True, True, False]])
    merged = marginal_log_probabilities(torch.zeros(1, 3, 1, 1), labelled).exp().flatten()
    assert merged.tolist() == pytest.approx([2 / 3, 1 / 3, 0.0])


def test_no_organ_that_nobody_looked_for_is_taught_to_be_background() -> None:
    labelled = torch.tensor([[True, True, False]])
    sure_background = torch.tensor([5.0, 0.0, -5.0])[None, :, None, None]
    sure_other_organ = torch.tensor([-5.0, 0.0, 5.0])[None, :, None, None]
    losses = [
        supervised_loss(logits, truth(0), smoothing=1.0, labelled=labelled)
        for logits in (sure_background, sure_other_organ)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item())


def test_partial_labels_give_finite_gradients() -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    classes = torch.randint(0, 2, (2, 4, 5), dtype=torch.uint8)
    labelled = torch.tensor([[True, True, False], [True, True, True]])
    supervised_loss(logits, classes, smoothing=1.0, labelled=labelled).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


def test_pseudo_labels_pass_no_gradient_to_the_network_that_made_them() -> None:
    student, teacher = (torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(2))
    pseudo_supervision_loss(student, teacher, smoothing=1.0).sum().backward()
    assert teacher.grad is None and student.grad is not None


def test_pseudo_supervision_takes_softmax_once() -> None:
    # Certain and agreeing logits leave no loss; a second softmax would leave probabilities near 1/2.
    logits = torch.tensor([30.0, -30.0])[None, :, None, None].expand(1, 2, 3, 4)
    assert pseudo_supervision_loss(logits, logits, smoothing=1.0) == pytest.approx(0.0, abs=1e-6)


def test_pseudo_labels_below_the_confidence_are_ignored() -> None:
    logits = planes(0.9, 0.6, 0.45).log()  # the likeliest classes: 1 by 0.9, 1 by 0.6, 0 by 0.55
    assert pseudo_labels(logits).tolist() == [[[1, 1, 0]]]
    assert pseudo_labels(logits, 0.58).tolist() == [[[1, 1, IGNORE]]]
    assert pseudo_labels(logits, 0.95).tolist() == [[[IGNORE] * 3]]


def test_pixels_of_an_unsure_label_have_no_influence_on_pseudo_supervision() -> None:
    teacher = planes(0.9, 0.2, 0.55).log()
    student = planes(0.7, 0.4, 0.1).log().requires_grad_()
    loss = pseudo_supervision_loss(student, teacher.requires_grad_(), smoothing=1.0, confidence=0.6)
    without = pseudo_supervision_loss(student[..., :2], teacher[..., :2], smoothing=1.0)
    assert (
        loss.item()
        == pytest.approx(without.item())
        != pytest.approx(pseudo_supervision_loss(student, teacher, smoothing=1.0).item())
    )
    loss.sum().backward()
    assert teacher.grad is None and student.grad is not None
    assert student.grad[..., :2].abs().min() > 0 and (student.grad[..., 2] == 0).all()


def test_pseudo_labels_that_are_all_unsure_teach_nothing() -> None:
    student = planes(0.7, 0.4).log().requires_grad_()
    loss = pseudo_supervision_loss(student, planes(0.55, 0.5).log(), smoothing=1.0, confidence=0.9)
    loss.sum().backward()
    assert loss.item() == 0 and student.grad is not None and (student.grad == 0).all()
