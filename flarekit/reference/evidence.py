"""What a segmented slice says about each organ: how much of it, how surely, and a hint where it was not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flarekit.data.grid import NetworkGrid
from flarekit.data.native import native_classes


@dataclass(frozen=True, kw_only=True)
class SliceEvidence:
    """A segmented slice; arrays over classes have the background at 0."""

    z: int  # slice number in the canonical volume
    classes: np.ndarray  # uint8 (H, W), the winning class of every native pixel
    area_px: np.ndarray  # int64 (C,), native pixels of each class
    certainty_px: np.ndarray  # float64 (C,), winning probabilities of a class summed over its pixels
    peak: np.ndarray  # float32 (C,), the highest probability of each class anywhere on the slice

    @classmethod
    def of(cls, z: int, probabilities: Tensor, grid: NetworkGrid) -> SliceEvidence:
        """The evidence of probabilities (C, h, w) on the network grid."""
        classes, winning = native_classes(probabilities, grid)
        area_px, certainty_px = class_sums(classes, winning, len(probabilities))
        peak = probabilities.flatten(1).amax(1).cpu().numpy()
        return cls(z=z, classes=classes.cpu().numpy(), area_px=area_px, certainty_px=certainty_px, peak=peak)


@dataclass(frozen=True, kw_only=True)
class OrganTable:
    """Evidence of S slices as arrays over (slice, organ), without the background."""

    slices: tuple[int, ...]  # slice numbers, ascending
    area_mm2: np.ndarray  # float64 (S, n)
    certainty: np.ndarray  # float64 (S, n), mean winning probability over the organ's pixels, 0 where absent
    peak: np.ndarray  # float64 (S, n)

    @classmethod
    def of(cls, evidence: Sequence[SliceEvidence], pixel_mm2: float) -> OrganTable:
        """The table of slices in ascending order, for pixels of that area."""
        ordered = sorted(evidence, key=lambda item: item.z)
        area_px = np.array([item.area_px[1:] for item in ordered])
        certainty_px = np.array([item.certainty_px[1:] for item in ordered])
        return cls(
            slices=tuple(item.z for item in ordered),
            area_mm2=area_px * pixel_mm2,
            certainty=certainty_px / np.maximum(area_px, 1),
            peak=np.array([item.peak[1:] for item in ordered], dtype=np.float64),
        )


def class_sums(classes: Tensor, winning: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each class, int64 (count,), and their winning probabilities summed, float64 (count,)."""
    flat = classes.flatten().long()
    area = torch.bincount(flat, minlength=count)
    certainty = torch.bincount(flat, weights=winning.flatten().double(), minlength=count)
    return area.cpu().numpy(), certainty.cpu().numpy()
