"""Who takes which pixel of a native slice: the network's probabilities, what was drawn, and the likeliest of all.

An object is looked at only where it may be, which is a small part of a slice for most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flarekit.propagation.drawn import Drawn
from flarekit.propagation.found import Found
from flarekit.propagation.fusion import FLOOR
from flarekit.propagation.native import NativeGrid
from flarekit.propagation.outlines import Region, joined

FAINT = 0.02  # probability up to which an object is at most looked for where outlines speak for it


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


@dataclass(frozen=True)
class Evidence:
    """What the network and what was drawn say of a slice together, in log-odds to the background."""

    found: Found
    grid: NativeGrid
    barred: Collection[int]  # objects that take no pixel
    drawn: Drawn
    z: int  # slice number

    @property
    def faint(self) -> float:
        """`FAINT`, or less: a probability up to which an object wins no pixel unless outlines speak for it.

        Beside a barred object the least may win.
        """
        return 0.0 if self.barred else min(FAINT, self.drawn.least(self.z, len(self.found.objects)))

    def of_objects(self) -> Iterator[tuple[int, Region, Tensor]]:
        """Each object that may take a pixel, the region in which it may, and its log-odds (rows, columns) there."""
        background = self._background(self.grid.reached(self.found.box))
        likely = self.grid.likely(self.found, self.faint)
        for row, k in enumerate(self.found.objects):
            region = self._region(k, likely[row], background.region)
            if region is not None and k not in self.barred:
                own = self.grid.spread(self.found.planes[1 + row], self.found.box, region)
                odds = own.clamp_min_(FLOOR).log_() - background.of(region)
                yield k, region, self._with_drawn(odds, k, region)

    def probabilities(self) -> Probabilities:
        """What they make of each pixel."""
        region = self.grid.reached(self.found.box)
        own = self.grid.spread(self.found.planes[1:], self.found.box, region).clamp_min_(FLOOR).log_()
        odds = own - self._background(region).log
        for row, k in enumerate(self.found.objects):
            odds[row] = -torch.inf if k in self.barred else self._with_drawn(odds[row], k, region)
        planes = torch.cat((odds.new_zeros(1, *odds.shape[1:]), odds)).softmax(dim=0)
        return Probabilities(region, self.found.objects, planes)

    def _background(self, region: Region) -> _Background:
        missing = self.grid.spread(self.found.planes[0] - 1, self.found.box, region)  # nothing outside the box
        return _Background(region, missing.add_(1).clamp_min_(FLOOR).log_())

    def _with_drawn(self, odds: Tensor, k: int, region: Region) -> Tensor:
        for more in self.drawn.log_odds(self.z, k, region):
            odds.add_(torch.from_numpy(more).to(odds.device))
        return odds

    def _region(self, k: int, likely: Region | None, whole: Region) -> Region | None:
        """The part of the whole in which object k may win: where it is likely, and where outlines speak for it."""
        around = joined([region for region in (likely, self.drawn.likely(self.z, k)) if region is not None])
        if around is None:
            return None
        rows, columns = (slice(max(a.start, w.start), min(a.stop, w.stop)) for a, w in zip(around, whole, strict=True))
        return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None


@dataclass(frozen=True)
class _Background:
    region: Region
    log: Tensor  # (rows, columns) of its probability

    def of(self, region: Region) -> Tensor:
        """The part of a region inside."""
        return _inside(self.log, region, self.region)


def decide(evidence: Evidence, objects: int) -> Decision:
    """The likeliest of so many objects for every pixel.

    An object's confidence is the mean of its probability over the pixels it takes; where it takes none, how far its
    largest probability stays below 1.
    """
    found, region = evidence.found, evidence.grid.reached(evidence.found.box)
    classes, sure = np.zeros(evidence.grid.shape, dtype=np.uint8), torch.ones(objects)
    if not found.objects:
        return Decision(classes, sure)
    best = torch.zeros([part.stop - part.start for part in region], device=found.planes.device)
    winner, total = torch.zeros_like(best, dtype=torch.uint8), torch.ones_like(best)
    heard = list(evidence.of_objects())
    for k, own, odds in heard:
        ahead = _inside(best, own, region)
        _inside(winner, own, region).masked_fill_(odds > ahead, k + 1)
        torch.maximum(ahead, odds, out=ahead)
        _inside(total, own, region).add_(odds.exp())
    taken, certain = winner.cpu(), best.exp_().div_(total).flatten().cpu().double()
    counts = torch.bincount(taken.flatten(), minlength=objects + 1)[1:]
    sums = torch.bincount(taken.flatten(), weights=certain, minlength=objects + 1)[1:]
    sure[list(found.objects)] = 1 - found.planes[1:].float().amax(dim=(1, 2)).clamp_max(evidence.faint).cpu()
    sure[list(evidence.barred)] = 1.0
    sure = torch.where(counts > 0, sums / counts.clamp_min(1), sure).float()
    for k, own, odds in heard:
        if not counts[k]:
            sure[k] = 1 - float((odds.exp() / _inside(total, own, region)).amax())
    classes[region] = taken.numpy()
    return Decision(classes, sure)


def _inside(planes: Tensor, region: Region, whole: Region) -> Tensor:
    """The part of planes (..., rows, columns) of a region inside of theirs; a view."""
    rows, columns = (slice(r.start - w.start, r.stop - w.start) for r, w in zip(region, whole, strict=True))
    return planes[..., rows, columns]
