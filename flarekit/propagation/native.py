"""From a box on the network's grid to the volume's own pixels, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flarekit.data.grid import NetworkGrid
from flarekit.propagation.boxes import TOKEN_PX, Box
from flarekit.propagation.found import Found
from flarekit.propagation.outlines import Region


@dataclass(frozen=True)
class Axis:
    """The way from a network's pixels along one axis to native ones."""

    weights: Tensor  # (native, network) pixels

    def reached(self, part: slice) -> slice:
        """The native pixels that some of the network's give something to."""
        return _span(np.asarray(self._touched[:, part].any(axis=1)))

    def needed(self, native: slice) -> slice:
        """The network's pixels that some native ones take something from."""
        return _span(np.asarray(self._touched[native].any(axis=0)))

    @cached_property
    def _touched(self) -> np.ndarray:
        return (self.weights != 0).cpu().numpy()


@dataclass(frozen=True)
class NativeGrid:
    """The way from planes in a box to the part of a native slice that they reach."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, grid: NetworkGrid, device: torch.device) -> NativeGrid:
        rows, columns = grid.from_network_weights()
        return cls(Axis(rows.to(device)), Axis(columns.to(device)))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a native slice."""
        return len(self.rows.weights), len(self.columns.weights)

    def reached(self, box: Box) -> Region:
        """Where on the slice something of a box comes to lie."""
        return self.rows.reached(_pixels(box.top, box.bottom)), self.columns.reached(_pixels(box.left, box.right))

    def spread(self, planes: Tensor, box: Box, region: Region) -> Tensor:
        """(..., rows, columns) of a region from planes (..., h, w) in a box."""
        down, across = self.rows.needed(region[0]), self.columns.needed(region[1])
        down, across = _cut(down, _pixels(box.top, box.bottom)), _cut(across, _pixels(box.left, box.right))
        part = planes[..., _from(down, box.top), _from(across, box.left)].float()
        return self.rows.weights[region[0], down] @ part @ self.columns.weights[region[1], across].T

    def likely(self, found: Found, above: float) -> list[Region | None]:
        """For each object, where on the slice its probability may be above a threshold; None where it is nowhere."""
        hot = found.planes[1:] > above
        rows, columns = hot.any(dim=2).cpu().numpy(), hot.any(dim=1).cpu().numpy()
        return [self._region(found.box, *own) for own in zip(rows, columns, strict=True)]

    def _region(self, box: Box, rows: np.ndarray, columns: np.ndarray) -> Region | None:
        down, across = _span(rows), _span(columns)
        top, left = box.top * TOKEN_PX, box.left * TOKEN_PX
        region = (
            self.rows.reached(slice(top + down.start, top + down.stop)),
            self.columns.reached(slice(left + across.start, left + across.stop)),
        )
        return region if all(part.stop > part.start for part in region) else None


def _pixels(first: int, stop: int) -> slice:
    return slice(first * TOKEN_PX, stop * TOKEN_PX)


def _span(touched: np.ndarray) -> slice:
    """From the first to the last that is True."""
    indices = np.flatnonzero(touched)
    return slice(int(indices[0]), int(indices[-1]) + 1) if len(indices) else slice(0, 0)


def _cut(part: slice, whole: slice) -> slice:
    start = max(part.start, whole.start)
    return slice(start, max(start, min(part.stop, whole.stop)))


def _from(part: slice, token: int) -> slice:
    """A part of the network's pixels counted from a token's first one."""
    return slice(part.start - token * TOKEN_PX, part.stop - token * TOKEN_PX)
