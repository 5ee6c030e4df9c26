"""The part of a slice that a CT shows: a rectangle, as after cropping, or the ellipse in it that was reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FieldOfView:
    """Where a field lies on a square slice. Pairs are of rows and columns."""

    size: tuple[float, float]  # shares of the side, above 0 to 1
    place: tuple[float, float]  # where it lies within its room, 0..1
    elliptic: bool  # only the ellipse that touches the rectangle's sides is shown

    def middle(self, side: int, around: tuple[float, float] | None = None) -> tuple[float, float]:
        """Its middle in pixel edges: the whole field on the slice, or, wherever that is, near the place `around`.

        Near means a quarter of the field's height and width at most: the place is in the ellipse, too.
        """
        middles = []
        for axis, share in enumerate(self.size):
            field, place = share * side, self.place[axis]
            near = None if around is None else around[axis] + (place - 0.5) * field / 2
            middles.append(field / 2 + place * (side - field) if near is None else near)
        return middles[0], middles[1]

    def inside(self, side: int) -> Tensor:
        """bool (side, side): which pixels a slice has that the field lies in the middle of."""
        rows, columns = (
            (torch.arange(side) + 0.5 - side / 2)[shape] / (share * side / 2)
            for shape, share in zip(((slice(None), None), (None, slice(None))), self.size, strict=True)
        )
        return rows**2 + columns**2 <= 1 if self.elliptic else (rows.abs() <= 1) & (columns.abs() <= 1)


def draw_field(smallest: float, rng: np.random.Generator) -> FieldOfView | None:
    """None in half of the samples; else a field whose sides are `smallest` to 1 of the slice's, every third elliptic.

    Every call takes the same number of draws.
    """
    cut, elliptic, height, width, row, column = rng.uniform(0.0, 1.0, size=6).tolist()
    if smallest == 1 or cut >= 0.5:
        return None
    size = (smallest + height * (1 - smallest), smallest + width * (1 - smallest))
    return FieldOfView(size=size, place=(row, column), elliptic=elliptic < 1 / 3)
