"""The losses of both modules, each reduced to one number an image (B,); the objectives average these over the batch.

An image so weighs the same in any batch, whatever it is batched with, and one whose loss is not finite can be named.
Voxels labelled IGNORE count in none of them. Where only some organs of an image are labelled, the
background and the organs nobody looked for are one class: their probabilities are summed before the loss
(the marginal loss of Shi et al., Medical Image Analysis 2021), so that no organ is taught to be background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flarekit.labels import IGNORE


def marginal_log_probabilities(logits: Tensor, labelled: Tensor | None = None) -> Tensor:
    """Log-probabilities float32 (B, C, H, W) with the probability of unlabelled organs moved to class 0.

    `labelled` (B, C) bool says which classes were looked for in each image; None for all of them.
    An unlabelled class has log-probability -inf.
    """
    logs = logits.float().log_softmax(1)
    if labelled is None or bool(labelled.all()):
        return logs
    organs = labelled.clone()
    organs[:, 0] = False
    is_organ = organs[:, :, None, None]
    rest = logs.masked_fill(is_organ, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat((rest, logs.masked_fill(~is_organ, -torch.inf)[:, 1:]), 1)


def dice_loss(
    probabilities: Tensor, classes: Tensor, *, smoothing: float = 1.0, labelled: Tensor | None = None
) -> Tensor:
    """Soft Dice loss (B,) in 0..1: 1 - (2 |P T| + s) / (|P| + |T| + s), averaged over the classes of each image.

    `probabilities` (B, C, H, W), `classes` (B, H, W) integers with IGNORE, `smoothing` s in voxels,
    `labelled` (B, C) bool leaves classes of an image out of the mean. So are classes that an image does not show:
    a voxel's worth of probability for an absent organ would cost more than a small organ missed altogether,
    and small organs would never be learnt. Cross-entropy and the other classes answer for false positives.
    """
    count = probabilities.shape[1]
    known = (classes != IGNORE)[:, None]
    truth = _one_hot(classes, count)
    probabilities = probabilities * known
    overlap = (probabilities * truth).sum((2, 3))
    voxels = truth.sum((2, 3))
    loss = 1 - (2 * overlap + smoothing) / (probabilities.sum((2, 3)) + voxels + smoothing)
    keep = voxels > 0 if labelled is None else (voxels > 0) & labelled
    return (loss * keep).sum(1) / keep.sum(1).clamp_min(1)


def cross_entropy(log_probabilities: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy (B,): mean over the known voxels of each image, 0 where there is none.

    `log_probabilities` (B, C, H, W), `classes` (B, H, W) integers with IGNORE.
    """
    known = classes != IGNORE
    return _negative_log_likelihood(log_probabilities, classes, known).sum((1, 2)) / known.sum((1, 2)).clamp_min(1)


def supervised_loss(logits: Tensor, classes: Tensor, *, smoothing: float, labelled: Tensor | None = None) -> Tensor:
    """Mean of Dice and cross-entropy, the Dice smoothed (B,): paper, section 2.2, "Loss function".

    `logits` (B, C, H, W), `classes` (B, H, W), `labelled` (B, C) as in `marginal_log_probabilities`.
    """
    logs = marginal_log_probabilities(logits, labelled)
    dice = dice_loss(logs.exp(), classes, smoothing=smoothing, labelled=labelled)
    return (dice + cross_entropy(logs, classes)) / 2


def pseudo_supervision_loss(
    logits: Tensor, other_logits: Tensor, *, smoothing: float, confidence: float = 0.0
) -> Tensor:
    """Dice of one network on the other's hard labels (B,): paper, section 2.2; Chen et al., CVPR 2021.

    Both (B, C, H, W). No gradient flows through the labels, and softmax is taken once (the paper's code took it twice).
    Pixels whose label has a probability below `confidence` count as IGNORE (as in FixMatch, Sohn et al., NeurIPS 2020).
    """
    hard = pseudo_labels(other_logits, confidence)
    return dice_loss(logits.float().softmax(1), hard, smoothing=smoothing)


def pseudo_labels(logits: Tensor, confidence: float = 0.0) -> Tensor:
    """The likeliest class of every pixel (B, H, W), IGNORE where its probability is below `confidence`; no gradient."""
    if not confidence:
        return logits.detach().argmax(1)
    probability, hard = logits.detach().float().softmax(1).max(1)
    return hard.masked_fill(probability < confidence, IGNORE)


def bootstrapped_cross_entropy(log_probabilities: Tensor, classes: Tensor, *, share: float) -> Tensor:
    """Cross-entropy (B,) over the hardest `share` of each image's known voxels: paper, section 2.2; Wu et al., 2016.

    `log_probabilities` (B, C, H, W), `classes` (B, H, W) integers with IGNORE; a share of 1 is `cross_entropy`.
    """
    known = classes != IGNORE
    if share >= 1:
        return cross_entropy(log_probabilities, classes)
    losses = _negative_log_likelihood(log_probabilities, classes, known).flatten(1)
    return torch.stack(
        [
            image.topk(max(1, round(share * count))).values.mean()
            for image, count in zip(losses, known.sum((1, 2)).tolist(), strict=True)
        ]
    )


def lovasz_loss(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Lovasz-Softmax (B,), mean over present classes: paper, section 2.2; Berman et al., CVPR 2018, equation 11.

    `probabilities` (B, C, H, W), `classes` (B, H, W) integers with IGNORE. An image without a known voxel counts 0.
    """
    truth = _one_hot(classes, probabilities.shape[1]).flatten(2)
    known = (classes != IGNORE).flatten(1)[:, None]
    errors = (truth - probabilities.flatten(2)).abs() * known
    errors, order = errors.sort(dim=2, descending=True)  # voxels that are not known are no errors, and so come last
    ranked = truth.gather(2, order)
    weights = _jaccard_steps(ranked)
    present = truth.any(2).to(errors.dtype)
    per_class = (errors * weights).sum(2) * present
    return per_class.sum(1) / present.sum(1).clamp_min(1)


def _jaccard_steps(ranked: Tensor) -> Tensor:
    """How much the Jaccard loss grows as the voxels (..., N), worst first, become errors one after another."""
    total = ranked.sum(-1, keepdim=True)
    missed = ranked.cumsum(-1)
    added = (1 - ranked).cumsum(-1)
    jaccard = 1 - (total - missed) / (total + added).clamp_min(1)
    return torch.diff(jaccard, dim=-1, prepend=torch.zeros_like(jaccard[..., :1]))


def _negative_log_likelihood(log_probabilities: Tensor, classes: Tensor, known: Tensor) -> Tensor:
    target = classes.masked_fill(~known, 0).long()
    return F.nll_loss(log_probabilities, target, reduction="none") * known


def _one_hot(classes: Tensor, count: int) -> Tensor:
    """float32 (B, C, H, W); all zero where a voxel is IGNORE."""
    return (classes[:, None] == torch.arange(count, device=classes.device)[:, None, None]).float()
