"""Batches of training samples from slice stores: batch number i is the same whoever computes it, and when.

An iteration's samples lie in slots. Of several processes, and of several batches accumulated in an iteration, each
takes the slots after those of the one before it: together they hold the samples of one larger batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from flarekit.config.training import CPSConfig, LoopConfig, STCNTrainingConfig, SupervisedConfig
from flarekit.data.augmentation import Change, change_classes, change_images, cut_field, draw_change, shifted_windows
from flarekit.data.network_case import NetworkCase
from flarekit.data.normalisation import normalised
from flarekit.data.sampling import (
    ClipChoice,
    Clips,
    OrganSlices,
    SliceChoice,
    UniformSlices,
    gap_limit_mm,
    sample_generator,
)
from flarekit.labels import IGNORE, LabelSet


class CPSBatch(NamedTuple):
    """Labelled and unlabelled slices of one iteration."""

    images: Tensor  # float32 (L, C, s, s) in 0..1
    positions: Tensor  # float32 (L,) in 0..1
    classes: Tensor  # uint8 (L, s, s)
    looked_for: Tensor  # bool (L, classes): what the labels of each image cover
    unlabelled: Tensor  # float32 (U, C, s, s) in 0..1
    unlabelled_positions: Tensor  # float32 (U,) in 0..1
    names: tuple[str, ...]  # of all slices, labelled ones first, for messages

    def singles(self) -> Iterator[CPSBatch]:
        """A batch for each slice, which shows it twice: batch normalisation cannot do with one image."""
        count = len(self.images)
        for index, name in enumerate(self.names):
            known, free = ([index] * 2, []) if index < count else ([], [index - count] * 2)
            yield CPSBatch(
                images=self.images[known],
                positions=self.positions[known],
                classes=self.classes[known],
                looked_for=self.looked_for[known],
                unlabelled=self.unlabelled[free],
                unlabelled_positions=self.unlabelled_positions[free],
                names=(name,),
            )


class ClipBatch(NamedTuple):
    """Clips of one iteration. T is 3: the annotated slice, then in the order they are segmented."""

    images: Tensor  # float32 (B, T, C, s, s) in 0..1
    classes: Tensor  # uint8 (B, T, s, s): 0 background, 1..K the clip's objects, IGNORE
    present: Tensor  # bool (B, K): whether the clip has an object of that number
    names: tuple[str, ...]  # of all clips, for messages

    def singles(self) -> Iterator[ClipBatch]:
        """A batch for each clip, which shows it twice."""
        for index, name in enumerate(self.names):
            both = [index] * 2
            yield ClipBatch(self.images[both], self.classes[both], self.present[both], (name,))


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of every iteration's samples a process takes."""

    process: int = 0  # its number
    processes: int = 1  # how many there are

    def of(self, index: int, loop: LoopConfig) -> tuple[int, int]:
        """The iteration that batch `index` of this process belongs to, and its number among the iteration's batches."""
        iteration, batch = divmod(index, loop.accumulate)
        return iteration, batch * self.processes + self.process

    def batches(self, loop: LoopConfig) -> int:
        """How many batches an iteration has, those of all processes."""
        return loop.accumulate * self.processes


ALL = Share()


class CPSBatches(Dataset[CPSBatch]):
    """Batches for cross pseudo supervision, or for one network without unlabelled slices.

    Item i belongs to iteration i, or i // accumulate. `pseudo` are cases whose labels are a consensus: that many
    unlabelled slices as the configuration's `pseudo_batch` says show one, with its labels.
    Raises TrainingError when there is nothing to learn from.
    """

    def __init__(
        self,
        labelled: Sequence[NetworkCase],
        unlabelled: Sequence[NetworkCase],
        labels: LabelSet,
        config: CPSConfig | SupervisedConfig,
        *,
        pseudo: Sequence[NetworkCase] = (),
        share: Share = ALL,
    ) -> None:
        self.labelled, self.pseudo, self.unlabelled = labelled, pseudo, unlabelled
        self.config, self.share, self.mirror_table = config, share, labels.mirror_table()
        self.pseudo_batch = (config.pseudo_batch or 0) if pseudo else 0
        self.labelled_slices = _organ_slices(labelled, config)
        if self.pseudo_batch:
            self.pseudo_slices = _organ_slices(pseudo, config)
        if config.unlabelled_batch:
            self.unlabelled_slices = UniformSlices([case.depth for case in unlabelled])

    def __len__(self) -> int:
        return self.config.loop.iterations * self.config.loop.accumulate

    def __getitem__(self, index: int) -> CPSBatch:
        iteration, number = self.share.of(index, self.config.loop)
        known = [self._labelled_sample(iteration, slot) for slot in _slots(number, self.config.labelled_batch)]
        known += [self._pseudo_sample(iteration, slot) for slot in _slots(number, self.pseudo_batch)]
        images, positions, names, classes, looked_for = zip(*known, strict=True)
        first, count = self._unlabelled_slots()
        free = [self._unlabelled_sample(iteration, slot) for slot in _slots(number, count, first=first)]
        return CPSBatch(
            images=torch.stack(images),
            positions=torch.tensor(positions),
            classes=torch.stack(classes),
            looked_for=torch.stack(looked_for),
            unlabelled=torch.stack([i for i, _, _ in free]) if free else torch.stack(images)[:0],
            unlabelled_positions=torch.tensor([position for _, position, _ in free]),
            names=(*names, *(name for _, _, name in free)),
        )

    def _unlabelled_slots(self) -> tuple[int, int]:
        """The first slot of an iteration's unlabelled samples, after those with pseudo-labels; how many a batch has."""
        first = self.pseudo_batch * self.share.batches(self.config.loop)
        return first, self.config.unlabelled_batch - self.pseudo_batch

    def _labelled_sample(self, iteration: int, slot: int) -> tuple[Tensor, float, str, Tensor, Tensor]:
        rng = sample_generator(self.config.loop.seed, iteration, 2 * slot)
        return self._with_classes(self.labelled, self.labelled_slices.draw(rng), rng)

    def _pseudo_sample(self, iteration: int, slot: int) -> tuple[Tensor, float, str, Tensor, Tensor]:
        rng = sample_generator(self.config.loop.seed, iteration, 2 * slot + 1)
        return self._with_classes(self.pseudo, self.pseudo_slices.draw(rng), rng)

    def _with_classes(
        self, cases: Sequence[NetworkCase], choice: SliceChoice, rng: np.random.Generator
    ) -> tuple[Tensor, float, str, Tensor, Tensor]:
        case, change = cases[choice.case], draw_change(self.config.augmentation, rng)
        side = _side(case, self.config.crop)
        classes = change_classes(case.classes([choice.z]), change, side=side, mirror_table=self.mirror_table)
        classes = cut_field(classes, change)
        looked_for = case.looked_for()
        if change.mirrored:
            looked_for = looked_for[torch.from_numpy(self.mirror_table[: len(looked_for)]).long()]
        return *self._image(case, choice, change), classes[0], looked_for

    def _unlabelled_sample(self, iteration: int, slot: int) -> tuple[Tensor, float, str]:
        rng = sample_generator(self.config.loop.seed, iteration, 2 * slot + 1)
        choice = self.unlabelled_slices.draw(rng)
        return self._image(self.unlabelled[choice.case], choice, draw_change(self.config.augmentation, rng))

    def _image(self, case: NetworkCase, choice: SliceChoice, change: Change) -> tuple[Tensor, float, str]:
        windows = shifted_windows(case.config.windows, change)
        images = case.images([choice.z], windows, seed=change.noise_seed)
        images = change_images(images, change, side=_side(case, self.config.crop), windows=windows)
        image = cut_field(images, change)[0]
        return normalised(image, case.config), case.position(choice.z), f"{case.name} slice {choice.z}"


class ClipBatches(Dataset[ClipBatch]):
    """Batches of clips for the propagation network; item i belongs to iteration i, or i // accumulate.

    Classes of `left_out` are followed in none: the network sees them as background, as it does every organ that a clip
    does not follow. Raises TrainingError when there is nothing to learn from.
    """

    def __init__(
        self,
        cases: Sequence[NetworkCase],
        config: STCNTrainingConfig,
        *,
        left_out: Sequence[int] = (),
        share: Share = ALL,
    ) -> None:
        self.cases, self.config, self.share = cases, config, share
        followed = [_without(case.label_voxels, left_out) for case in cases]
        self.clips = Clips(followed, [case.spacing_z_mm for case in cases])

    def __len__(self) -> int:
        return self.config.loop.iterations * self.config.loop.accumulate

    def __getitem__(self, index: int) -> ClipBatch:
        iteration, number = self.share.of(index, self.config.loop)
        samples = [self._sample(iteration, slot) for slot in _slots(number, self.config.clips)]
        images, classes, present, names = zip(*samples, strict=True)
        return ClipBatch(torch.stack(images), torch.stack(classes), torch.stack(present), names)

    def _sample(self, iteration: int, slot: int) -> tuple[Tensor, Tensor, Tensor, str]:
        rng = sample_generator(self.config.loop.seed, iteration, slot)
        choice = self.clips.draw(
            rng,
            gap_mm=self._gap_mm(iteration),
            objects=self.config.objects_per_clip,
            between_share=self.config.between_share,
        )
        change = draw_change(self.config.augmentation, rng)
        images, classes = read_clip(self.cases[choice.case], choice, change, crop=self.config.crop)
        present = torch.arange(self.config.objects_per_clip) < len(choice.organs)
        return images, classes, present, clip_name(self.cases[choice.case], choice)

    def _gap_mm(self, iteration: int) -> float:
        progress = iteration / self.config.loop.iterations
        return gap_limit_mm(progress, self.config.first_gap_mm, self.config.last_gap_mm)


def read_clip(
    case: NetworkCase, choice: ClipChoice, change: Change, *, crop: int | None = None
) -> tuple[Tensor, Tensor]:
    """Images float32 (T, C, s, s) and objects uint8 (T, s, s) of a clip: the n-th of its organs is object n.

    A crop stays near the first organ of the first slice, and so does a field of view.
    """
    objects = objects_of(case.classes(choice.slices), choice.organs)
    side, focus = _side(case, crop), _centre_of(objects[0] == 1)
    windows = shifted_windows(case.config.windows, change)
    images = case.images(choice.slices, windows, seed=change.noise_seed)
    images = change_images(images, change, side=side, windows=windows, focus=focus)
    objects = change_classes(objects, change, side=side, focus=focus)
    seen = _centre_of(objects[0] == 1)
    return normalised(cut_field(images, change, around=seen), case.config), cut_field(objects, change, around=seen)


def objects_of(classes: Tensor, organs: Sequence[int]) -> Tensor:
    """uint8 like `classes`: n where the n-th organ is, IGNORE where it was, 0 elsewhere."""
    table = torch.zeros(256, dtype=torch.uint8)
    table[IGNORE] = IGNORE
    for number, organ in enumerate(organs, start=1):
        table[organ] = number
    return table[classes.long()]


def clip_name(case: NetworkCase, choice: ClipChoice) -> str:
    """The clip in words, for messages."""
    return f"{case.name} slices {', '.join(map(str, choice.slices))}"


def _organ_slices(cases: Sequence[NetworkCase], config: CPSConfig | SupervisedConfig) -> OrganSlices:
    return OrganSlices([case.label_voxels for case in cases], config.organ_share)


def _without(label_voxels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """The voxel counts (Z, classes), none of these classes."""
    kept = label_voxels.copy()
    kept[:, list(classes)] = 0
    return kept


def _slots(number: int, count: int, *, first: int = 0) -> range:
    """The slots of the samples in batch `number` of an iteration, whose first sample has the slot `first`."""
    return range(first + number * count, first + (number + 1) * count)


def _side(case: NetworkCase, crop: int | None) -> int:
    return case.config.canvas if crop is None else crop


def _centre_of(mask: Tensor) -> tuple[float, float] | None:
    """(row, column) of a mask's centre in pixel edges; None when it is empty."""
    pixels = mask.nonzero().float()
    if not len(pixels):
        return None
    row, column = (pixels.mean(0) + 0.5).tolist()
    return row, column
