"""Which slices a training sample shows. A sample is a function of (seed, iteration, slot) and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flarekit.errors import TrainingError


@dataclass(frozen=True)
class SliceChoice:
    """One slice of one case."""

    case: int  # index into the cases sampled from
    z: int


@dataclass(frozen=True)
class ClipChoice:
    """Three slices of one case, and the organs to follow through them."""

    case: int  # index into the cases sampled from
    slices: tuple[int, int, int]  # the annotated one first, then in the order they are segmented
    organs: tuple[int, ...]  # classes; every one is on the first slice


def sample_generator(seed: int, iteration: int, slot: int) -> np.random.Generator:
    """The generator that everything random about one sample is drawn from."""
    return np.random.default_rng((seed, iteration, slot))


class UniformSlices:
    """Every slice of every case equally often. Raises TrainingError when there is none."""

    def __init__(self, depths: Sequence[int]) -> None:
        self.ends = np.cumsum(depths)
        if not len(depths) or self.ends[-1] == 0:
            raise TrainingError("there is no slice to train on", remedy="Check the stores that were given.")

    def draw(self, rng: np.random.Generator) -> SliceChoice:
        """A slice."""
        index = int(rng.integers(self.ends[-1]))
        case = int(np.searchsorted(self.ends, index, side="right"))
        return SliceChoice(case, index - (int(self.ends[case - 1]) if case else 0))


class OrganSlices:
    """Slices of labelled cases: a share of them organ first, so that small organs are seen as often as large ones.

    `label_voxels` holds an array (Z, classes) for each case. Raises TrainingError when no slice holds an organ.
    """

    def __init__(self, label_voxels: Sequence[np.ndarray], organ_share: float) -> None:
        self.all = UniformSlices([len(counts) for counts in label_voxels])
        self.organ_share = organ_share
        self.holding = [choices for choices in _slices_by_organ(label_voxels) if choices]
        if not self.holding:
            raise TrainingError("no slice holds a labelled organ", remedy="Check that the store was made with labels.")

    def draw(self, rng: np.random.Generator) -> SliceChoice:
        """A slice: any of all, or one that holds an organ drawn before it."""
        if rng.random() >= self.organ_share:
            return self.all.draw(rng)
        choices = self.holding[int(rng.integers(len(self.holding)))]
        return choices[int(rng.integers(len(choices)))]


class Clips:
    """Clips of three slices through organs of labelled cases. Raises TrainingError when no slice holds an organ.

    `label_voxels` holds an array (Z, classes) for each case and `spacing_z_mm` its distance between slices.
    """

    def __init__(self, label_voxels: Sequence[np.ndarray], spacing_z_mm: Sequence[float]) -> None:
        self.label_voxels, self.spacing_z_mm = label_voxels, spacing_z_mm
        self.organs = [np.flatnonzero(counts[:, 1:].any(axis=0)) + 1 for counts in label_voxels]
        self.cases = [index for index, organs in enumerate(self.organs) if len(organs)]
        if not self.cases:
            raise TrainingError("no slice holds a labelled organ", remedy="Check that the store was made with labels.")

    def draw(
        self, rng: np.random.Generator, *, gap_mm: float, objects: int = 1, between_share: float = 0.0
    ) -> ClipChoice:
        """A clip from a slice that holds an organ, up or down, with gaps of one slice to `gap_mm`.

        The organ may have ended on the later slices. A `between_share` of clips ends with the slice in the middle.
        """
        case = self.cases[int(rng.integers(len(self.cases)))]
        counts = self.label_voxels[case]
        organ = int(rng.choice(self.organs[case]))
        first = int(rng.choice(np.flatnonzero(counts[:, organ])))
        others = np.flatnonzero(counts[first, 1:]) + 1
        others = rng.permutation(others[others != organ])[: objects - 1]
        near, far = self._later_slices(rng, case, first, gap_mm)
        slices = (first, far, near) if rng.random() < between_share else (first, near, far)
        return ClipChoice(case, slices, (organ, *(int(other) for other in others)))

    def _later_slices(self, rng: np.random.Generator, case: int, first: int, gap_mm: float) -> tuple[int, int]:
        longest = max(1, round(gap_mm / self.spacing_z_mm[case]))
        gaps = rng.integers(1, longest, size=2, endpoint=True)
        last = len(self.label_voxels[case]) - 1
        step = 1 if rng.random() < 0.5 else -1
        if not 0 <= first + step * gaps.sum() <= last:
            step = -step
        near, far = np.clip(first + step * np.cumsum(gaps), 0, last)
        return int(near), int(far)


def gap_limit_mm(progress: float, first_mm: float, last_mm: float) -> float:
    """Longest gap at a share 0..1 of the training: grows linearly over its first half, then stays."""
    return first_mm + min(1.0, 2 * progress) * (last_mm - first_mm)


def _slices_by_organ(label_voxels: Sequence[np.ndarray]) -> list[list[SliceChoice]]:
    classes = max((counts.shape[1] for counts in label_voxels), default=1)
    return [
        [
            SliceChoice(case, int(z))
            for case, counts in enumerate(label_voxels)
            for z in np.flatnonzero(counts[:, organ])
        ]
        for organ in range(1, classes)
    ]
