"""A segmented case: its mask, and what is known of each organ in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flarekit.labels import LabelSet


@dataclass(frozen=True, kw_only=True)
class OrganResult:
    """One organ of a segmented case."""

    name: str
    id: int  # in the label file
    volume_ml: float
    confidence: float | None  # 0..1, the geometric mean of the next two; None when no voxel is its
    certainty: float | None = None  # mean winning probability over its voxels, 0..1; None when no voxel is its
    agreement: float | None = None  # Dice of what each network draws; None for one network, or when no voxel is its


@dataclass(frozen=True, kw_only=True)
class SecondPass:
    """What the second, denser look did."""

    doubtful: tuple[str, ...]  # organs that the uniform sample showed too small, too uncertain, or not at all
    slices: tuple[int, ...]  # slices it added
    found: tuple[str, ...]  # organs on these slices that the uniform sample had missed altogether


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """The result of `segment`."""

    classes: np.ndarray  # uint8 (Z, H, W) on the canonical grid, by the label set
    organs: tuple[OrganResult, ...]  # every organ of the label set, in class order
    certainty: np.ndarray  # float32 (organs, Z), mean winning probability on a slice, NaN where an organ is not
    sampled: tuple[int, ...]  # slices of the uniform sample, or all slices without propagation
    second_pass: SecondPass | None  # None without propagation
    references: tuple[int, ...]  # slices the propagation started from
    seconds: dict[str, float]  # elapsed time of each stage


def confidence_of(certainty: float | None, agreement: float | None) -> float | None:
    """How far an organ of that certainty is to be trusted: the geometric mean with the networks' agreement, if any.

    Certainty says little of an image like none the networks know: a propagated mask is as certain as it is faithful to
    what they saw.
    """
    if certainty is None or agreement is None:
        return certainty
    return math.sqrt(certainty * agreement)


class Assembly:
    """A mask put together slice by slice, with each organ's voxels and certainty counted on the way."""

    def __init__(self, shape: tuple[int, int, int], labels: LabelSet) -> None:
        self.classes = np.zeros(shape, dtype=np.uint8)
        self.labels = labels
        self._voxels = np.zeros((shape[0], labels.classes), dtype=np.int64)
        self._certainty = np.zeros((shape[0], labels.classes))

    def add(self, z: int, classes: np.ndarray, voxels: np.ndarray, certainty: np.ndarray) -> None:
        """Slice z's classes (H, W), and for each class its voxels and summed winning probabilities (C,)."""
        self.classes[z] = classes
        self._voxels[z], self._certainty[z] = voxels, certainty

    def add_propagated(self, z: int, classes: np.ndarray, organs: Sequence[int], confidence: np.ndarray) -> None:
        """Slice z's classes (H, W), and the confidence (K,) of the organs (classes) looked for on it."""
        voxels = np.bincount(classes.ravel(), minlength=self.labels.classes)
        certainty = np.zeros(self.labels.classes)
        certainty[list(organs)] = voxels[list(organs)] * confidence
        self.add(z, classes, voxels, certainty)

    def drop(self, c: int, box: tuple[slice, slice, slice], mask: np.ndarray) -> None:
        """Take voxels, a mask in a box, from class c; what it keeps on a slice is as certain as before."""
        self.classes[box][mask] = 0
        had, gone = self._voxels[box[0], c], mask.sum(axis=(1, 2))
        self._certainty[box[0], c] *= 1 - gone / np.maximum(had, 1)
        had -= gone

    def organs(self, voxel_ml: float, agreement: np.ndarray | None = None) -> tuple[OrganResult, ...]:
        """What is known of each organ so far, and from the networks' agreement (C,), if there are several."""
        return tuple(
            self._organ(c, name, number, voxel_ml, None if agreement is None else float(agreement[c]))
            for c, (name, number) in enumerate(zip(self.labels.names, self.labels.ids, strict=True), start=1)
        )

    def _organ(self, c: int, name: str, number: int, voxel_ml: float, agreement: float | None) -> OrganResult:
        voxels = int(self._voxels[:, c].sum())
        certainty = float(self._certainty[:, c].sum() / voxels) if voxels else None
        return OrganResult(
            name=name,
            id=number,
            volume_ml=voxels * voxel_ml,
            confidence=confidence_of(certainty, agreement),
            certainty=certainty,
            agreement=agreement if voxels else None,
        )

    def certainty(self) -> np.ndarray:
        """float32 (organs, Z): each organ's mean winning probability on every slice, NaN where it is not."""
        voxels, certainty = self._voxels[:, 1:].T, self._certainty[:, 1:].T
        means = np.full(voxels.shape, np.nan, dtype=np.float32)
        return np.divide(certainty, voxels, out=means, where=voxels > 0, casting="unsafe")
