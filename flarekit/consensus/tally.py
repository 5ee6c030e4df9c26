"""Voxels of masks and of what they are compared with, counted slice by slice, so that no mask is ever held whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flarekit.labels import IGNORE


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Voxels of R masks beside what each is compared with, int64; P parts of the volume, n organs.

    Voxels that either of the two ignores are not counted.
    """

    mask: np.ndarray  # (P, R, n) of each organ in the mask
    reference: np.ndarray  # (P, R, n) in what it is compared with
    both: np.ndarray  # (P, R, n) in both
    changed: np.ndarray  # (P, R) voxels that differ, background included


class Tally:
    """Counts of R masks over a volume of `depth` slices.

    The volume's parts are those of the authors' code: of depth // 3 slices each, and one of what is left over.
    """

    def __init__(self, rows: int, organs: int, depth: int) -> None:
        self._part_slices = max(1, depth // 3)
        parts = -(-depth // self._part_slices)
        self._sums = np.zeros((3, parts, rows, organs), dtype=np.int64)
        self._changed = np.zeros((parts, rows), dtype=np.int64)

    def add(self, z: int, masks: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> None:
        """Slice z of every mask and of what it is compared with, uint8 classes (H, W)."""
        part = z // self._part_slices
        for row, (mask, reference) in enumerate(zip(masks, references, strict=True)):
            known = (mask != IGNORE) & (reference != IGNORE)
            if not known.all():
                mask, reference = mask[known], reference[known]
            same = mask == reference
            counted = (mask, reference, mask[same])
            self._sums[:, part, row] += [_voxels(classes, self._sums.shape[-1]) for classes in counted]
            self._changed[part, row] += mask.size - np.count_nonzero(same)

    def counts(self) -> Counts:
        """What has been counted so far."""
        mask, reference, both = self._sums
        return Counts(mask=mask, reference=reference, both=both, changed=self._changed)


def _voxels(classes: np.ndarray, organs: int) -> np.ndarray:
    return np.bincount(classes.ravel(), minlength=IGNORE + 1)[1 : organs + 1]
