"""Answers on the network's grid, decided in the volume's own pixels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flarekit.data.grid import NetworkGrid
from flarekit.propagation.boxes import TOKEN_PX
from flarekit.propagation.found import Found
from flarekit.propagation.fusion import FLOOR, confidence, winners
from flarekit.propagation.outlines import Outlines, Region


@dataclass(frozen=True)
class NativeGrid:
    """The way from planes in a box to the part of a native slice that they reach."""

    rows: Tensor  # (H, h) weights
    columns: Tensor  # (W, w) weights

    @classmethod
    def of(cls, grid: NetworkGrid, device: torch.device) -> NativeGrid:
        rows, columns = grid.from_network_weights()
        return cls(rows.to(device), columns.to(device))

    def objects(self, found: Found) -> tuple[Region, Tensor]:
        """Where on the slice the objects can be, and their probabilities (len(objects), rows, columns) there."""
        box = found.box
        rows = self.rows[:, box.top * TOKEN_PX : box.bottom * TOKEN_PX]
        columns = self.columns[:, box.left * TOKEN_PX : box.right * TOKEN_PX]
        down, across = _reached(rows), _reached(columns)
        return (down, across), rows[down] @ found.planes[1:].float() @ columns[across].T


@dataclass(frozen=True)
class Probabilities:
    """Of each object, where on a native slice any of them can be; elsewhere there is background."""

    region: Region  # rows and columns of the slice
    objects: tuple[int, ...]
    planes: Tensor  # (1 + len(objects), rows, columns) float32, background first, summing to 1

    def whole(self, class_of: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
        """float32 (C, H, W) of that shape: the background's at 0, object k's at `class_of[k]`, 0 elsewhere."""
        planes = torch.zeros(shape, device=self.planes.device)
        planes[0] = 1.0
        for c, own in zip((0, *(class_of[k] for k in self.objects)), self.planes, strict=True):
            planes[(c, *self.region)] = own
        return planes


@dataclass(frozen=True)
class Decision:
    """Who takes which pixel of a native slice."""

    classes: np.ndarray  # (H, W) uint8: 0 background, object k is k + 1
    confidence: Tensor  # (K,) in 0..1
    probabilities: Probabilities | None = None  # None where no object is


def decide(
    found: Found, grid: NativeGrid, barred: Collection[int], objects: int, outlines: tuple[Outlines, int] | None
) -> Decision:
    """The likeliest object of every pixel, by the network and, for slice z, by the outlines (with z).

    The `barred` objects take no pixel.
    """
    classes = np.zeros((len(grid.rows), len(grid.columns)), dtype=np.uint8)
    sure = torch.ones(objects)
    if not found.objects:
        return Decision(classes, sure)
    region, own = grid.objects(found)
    odds = own.clamp_min(FLOOR).log() - (1 - own.sum(dim=0)).clamp_min(FLOOR).log()
    if outlines is not None:
        lines, z = outlines
        odds += torch.from_numpy(lines.log_odds(z, found.objects, region)).to(odds.device)
    odds[[row for row, k in enumerate(found.objects) if k in barred]] = -torch.inf
    labels = torch.tensor((0, *(k + 1 for k in found.objects)), dtype=torch.uint8, device=odds.device)
    planes = torch.cat((torch.zeros_like(odds[:1]), odds))
    classes[region] = labels[winners(planes)].cpu().numpy()
    probabilities = planes.softmax(dim=0)
    sure[list(found.objects)] = confidence(probabilities).cpu()
    return Decision(classes, sure, Probabilities(region, found.objects, probabilities))


def _reached(weights: Tensor) -> slice:
    """The native rows or columns that the weights (n, m) give something to."""
    touched = weights.any(dim=1).nonzero()
    return slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0, 0)
