"""Batches of training samples from slice stores: batch number i is the same whoever computes it, and when."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from flarekit.config.preprocessing import PreprocessingConfig, WindowPreset
from flarekit.config.training import CPSConfig, STCNTrainingConfig
from flarekit.data.augmentation import change_classes, change_images, draw_change, shifted_windows
from flarekit.data.grid import NetworkGrid, to_float
from flarekit.data.sampling import (
    ClipChoice,
    Clips,
    OrganSlices,
    SliceChoice,
    UniformSlices,
    gap_limit_mm,
    sample_generator,
)
from flarekit.data.slices import slice_position
from flarekit.data.store import StoredCase
from flarekit.labels import IGNORE, LabelSet


class NetworkCase:
    """A stored case as a network sees it: windowed, on the network's grid."""

    def __init__(self, case: StoredCase, config: PreprocessingConfig) -> None:
        self.case, self.config = case, config

    @property
    def name(self) -> str:
        """The case's name in its store."""
        return self.case.name

    @cached_property
    def grid(self) -> NetworkGrid:
        """The in-plane geometry between the case's slices and the network's input."""
        _, height, width = self.case.shape
        return NetworkGrid.of((height, width), self.case.spacing_mm[1:], self.config)

    def images(self, slices: Sequence[int], windows: WindowPreset | None = None) -> Tensor:
        """float32 (N, 3, h, w) in 0..1 of the slices with these numbers, through the config's windows or others."""
        preset = windows or self.config.windows
        return self.grid.to_network(to_float(torch.stack([self.case.image(z, preset) for z in slices])))

    def classes(self, slices: Sequence[int]) -> Tensor:
        """uint8 (N, h, w): labels of the slices, IGNORE where they are not known."""
        planes = np.stack([self.case.labels_at(z) for z in slices])
        return self.grid.labels_to_network(torch.from_numpy(planes))

    def position(self, z: int) -> float:
        """Where along the volume slice z lies, 0 its lowest and 1 its highest."""
        return slice_position(z, self.case.depth)


class CPSBatch(NamedTuple):
    """Labelled and unlabelled slices of one iteration."""

    images: Tensor  # float32 (L, 3, s, s) in 0..1
    positions: Tensor  # float32 (L,)
    classes: Tensor  # uint8 (L, s, s)
    labelled: Tensor  # bool (L, C): the classes that were looked for in each image
    unlabelled: Tensor  # float32 (U, 3, s, s) in 0..1
    unlabelled_positions: Tensor  # float32 (U,)
    names: tuple[str, ...]  # of all slices, for messages


class ClipBatch(NamedTuple):
    """Clips of one iteration. T is 3: the annotated slice, then in the order they are segmented."""

    images: Tensor  # float32 (B, T, 3, s, s) in 0..1
    classes: Tensor  # uint8 (B, T, s, s): 0 background, 1..K the clip's objects, IGNORE
    present: Tensor  # bool (B, K): objects that the clip has
    names: tuple[str, ...]  # of all clips, for messages


class CPSBatches(Dataset[CPSBatch]):
    """Batches for cross pseudo supervision; item i belongs to iteration i.

    Of several processes, each takes the slots of its `rank`. Raises TrainingError when there is nothing to learn from.
    """

    def __init__(
        self,
        labelled: Sequence[NetworkCase],
        unlabelled: Sequence[NetworkCase],
        labels: LabelSet,
        config: CPSConfig,
        *,
        rank: int = 0,
    ) -> None:
        self.labelled, self.unlabelled, self.labels, self.config = labelled, unlabelled, labels, config
        self.rank = rank
        self.slices = OrganSlices([c.case.label_voxels for c in labelled], config.organ_share)
        self.unlabelled_slices = (
            UniformSlices([c.case.depth for c in unlabelled]) if config.unlabelled_batch else None
        )

    def __len__(self) -> int:
        return self.config.loop.iterations

    def __getitem__(self, iteration: int) -> CPSBatch:
        labelled, unlabelled = self.config.labelled_batch, self.config.unlabelled_batch
        first = self.rank * (labelled + unlabelled)
        known = [self._labelled_sample(iteration, first + slot) for slot in range(labelled)]
        free = [self._unlabelled_sample(iteration, first + labelled + slot) for slot in range(unlabelled)]
        images, classes, positions, looked_for, names = zip(*known, strict=True)
        side = images[0].shape[-1]
        return CPSBatch(
            images=torch.stack(images),
            positions=torch.tensor(positions),
            classes=torch.stack(classes),
            labelled=torch.stack(looked_for),
            unlabelled=torch.stack([i for i, _, _ in free]) if free else images[0].new_zeros(0, 3, side, side),
            unlabelled_positions=torch.tensor([position for _, position, _ in free]),
            names=(*names, *(name for _, _, name in free)),
        )

    def _labelled_sample(self, iteration: int, slot: int) -> tuple[Tensor, Tensor, float, Tensor, str]:
        rng = sample_generator(self.config.loop.seed, iteration, slot)
        choice = self.slices.draw(rng)
        case = self.labelled[choice.case]
        change = draw_change(self.config.augmentation, rng)
        classes = change_classes(
            case.classes([choice.z]), change, side=self._side(case), mirror_table=self.labels.mirror_table()
        )
        looked_for = labelled_classes(case.case, self.labels, mirrored=change.mirrored)
        image, position, name = self._image(case, choice, rng_change=change)
        return image, classes[0], position, looked_for, name

    def _unlabelled_sample(self, iteration: int, slot: int) -> tuple[Tensor, float, str]:
        assert self.unlabelled_slices is not None
        rng = sample_generator(self.config.loop.seed, iteration, slot)
        choice = self.unlabelled_slices.draw(rng)
        return self._image(self.unlabelled[choice.case], choice, draw_change(self.config.augmentation, rng))
