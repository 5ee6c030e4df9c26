"""Dice on validation cases while training: pooled over the slices looked at, on the network's grid.

Quicker than scoring whole cases on their own grid, and enough to tell which iteration was best.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from flarekit.data.augmentation import UNCHANGED
from flarekit.data.datasets import ClipBatch, read_clip
from flarekit.data.network_case import NetworkCase
from flarekit.data.normalisation import normalised
from flarekit.data.sampling import ClipChoice
from flarekit.labels import IGNORE, LabelSet
from flarekit.models.stcn import STCN
from flarekit.training.stcn import segment_clips

BATCH = 8  # slices segmented at once
STEP_MM = 10.0  # distance between the slices of a validation clip


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a validation found."""

    dice: float | None  # mean over organs; None where no case shows one that is scored
    organs: dict[str, float]  # mean over the cases that have the organ
    networks: dict[str, float | None]  # mean over organs of each network alone; empty where there is one network

    def to_json(self) -> dict[str, object]:
        """A plain dictionary."""
        return {"dice": self.dice, "organs": self.organs, "networks": self.networks}


@torch.inference_mode()
def score_reference(
    networks: Mapping[str, nn.Module], cases: Sequence[NetworkCase], labels: LabelSet, *, stride: int
) -> Score:
    """Dice of the pair's summed softmaxes on every `stride`-th slice of the cases; networks are left in eval mode."""
    for network in networks.values():
        network.eval()
    counts = {name: [] for name in ("pair", *networks)}  # type: dict[str, list[np.ndarray]]
    for case in cases:
        batches = [_count_batch(networks, case, numbers) for numbers in _batches(range(0, case.depth, stride))]
        for name, kept in counts.items():
            kept.append(np.sum([batch[name] for batch in batches], axis=0))
    pooled = {name: _dice_by_organ(np.stack(each), labels) for name, each in counts.items()}
    pair = pooled.pop("pair")
    return Score(dice=_mean(pair), organs=pair, networks={name: _mean(each) for name, each in pooled.items()})


@torch.inference_mode()
def score_propagation(
    network: STCN, cases: Sequence[NetworkCase], labels: LabelSet, *, left_out: Sequence[int] = ()
) -> Score:
    """Dice of masks carried from each organ's largest slice over two steps of about 10 mm; eval mode stays on.

    Classes of `left_out` are not scored.
    """
    network.eval()
    device = next(network.parameters()).device
    counts = np.zeros((len(cases), 3, labels.classes), dtype=np.int64)
    for index, case in enumerate(cases):
        for choices in _batches(list(validation_clips(case, left_out=left_out))):
            clips = [read_clip(case, choice, UNCHANGED) for choice in choices]
            images, classes = (torch.stack(planes).to(device) for planes in zip(*clips, strict=True))
            present = torch.ones(len(clips), 1, dtype=torch.bool, device=device)
            found = segment_clips(network, ClipBatch(images, classes, present, ())).argmax(2)
            for choice, mask, truth in zip(choices, found, classes[:, 1:], strict=True):
                counts[index, :, choice.organs[0]] += _count(mask, truth, 2)[:, 1]
    organs = _dice_by_organ(counts, labels)
    return Score(dice=_mean(organs), organs=organs, networks={})


def validation_clips(case: NetworkCase, *, left_out: Sequence[int] = ()) -> Iterator[ClipChoice]:
    """One clip for each organ of a case but those left out, from its largest slice up or, every second organ, down."""
    step = max(1, round(STEP_MM / case.spacing_z_mm))
    for organ in case.organs:
        voxels = case.label_voxels[:, organ]
        if organ in left_out or not voxels.any():
            continue
        first, way = int(voxels.argmax()), step if organ % 2 else -step
        near, far = (min(max(first + n * way, 0), case.depth - 1) for n in (1, 2))
        yield ClipChoice(0, (first, near, far), (organ,))


def _count_batch(networks: Mapping[str, nn.Module], case: NetworkCase, numbers: Sequence[int]) -> dict[str, np.ndarray]:
    """Voxel counts (3, classes) on some slices, of the pair and of each network."""
    device = next(next(iter(networks.values())).parameters()).device
    images = normalised(case.images(numbers), case.config).to(device)
    positions = torch.tensor([case.position(z) for z in numbers], device=device)
    classes = case.classes(numbers).to(device)
    softmaxes = {name: network(images, positions).float().softmax(1) for name, network in networks.items()}
    softmaxes["pair"] = torch.stack(list(softmaxes.values())).sum(0)
    looked_for = case.looked_for().numpy()
    return {name: _count(planes.argmax(1), classes, planes.shape[1]) * looked_for for name, planes in softmaxes.items()}


def _count(found: Tensor, truth: Tensor, classes: int) -> np.ndarray:
    """int64 (3, classes): voxels of each class in both, in `found`, and in `truth`, IGNORE left out."""
    known = truth != IGNORE
    found, truth = found[known].long(), truth[known].long()
    return (
        torch.stack([torch.bincount(each, minlength=classes) for each in (found[found == truth], found, truth)])
        .cpu()
        .numpy()
    )


def _dice_by_organ(counts: np.ndarray, labels: LabelSet) -> dict[str, float]:
    """Dice by organ name from counts (cases, 3, classes): mean over cases that have it, organs of none left out."""
    dice = {}
    for organ, name in enumerate(labels.names, start=1):
        both, found, truth = counts[:, :, organ].T.astype(float)
        if (truth > 0).any():
            dice[name] = float((2 * both / np.maximum(found + truth, 1))[truth > 0].mean())
    return dice


def _mean(dice: Mapping[str, float]) -> float | None:
    return float(np.mean(list(dice.values()))) if dice else None


def _batches(items: Sequence) -> Iterable[Sequence]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
