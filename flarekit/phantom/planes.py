"""Blurred planes and smooth random ones in torch, on any device: all that painting single slices takes.

Every sum over pixels is written as a few sums over planes, whose order does not depend on the number of threads:
the same generator gives the same planes, bit for bit, whoever computes them on a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PlaneGrid:
    """Slices of H x W pixels, so many mm apart."""

    shape: tuple[int, int]  # (H, W) pixels
    spacing_mm: tuple[float, float]  # (h, w) between their centres
    device: torch.device  # that planes are computed on

    @property
    def extent_mm(self) -> tuple[float, float]:
        """From the first pixel's centre to the last one's."""
        return (self.shape[0] - 1) * self.spacing_mm[0], (self.shape[1] - 1) * self.spacing_mm[1]

    def axes_mm(self) -> tuple[Tensor, Tensor]:
        """float32 (H,1) and (1,W): positions along both axes from pixel 0."""
        rows, columns = (
            torch.arange(n, device=self.device) * mm for n, mm in zip(self.shape, self.spacing_mm, strict=True)
        )
        return rows[:, None], columns[None]

    def from_middle_mm(self) -> Tensor:
        """float32 (H,W): distance from the middle of the slice."""
        y, x = self.axes_mm()
        return torch.hypot(y - self.extent_mm[0] / 2, x - self.extent_mm[1] / 2)

    def coarse_shape(self, step_mm: float) -> tuple[int, int]:
        """(h, w) pixels about `step_mm` apart over the same slice, never more than it has and at least two."""
        counts = (
            max(min(round(mm / step_mm) + 1, n), min(n, 2)) for mm, n in zip(self.extent_mm, self.shape, strict=True)
        )
        height, width = counts
        return height, width


def gaussian(sigma: float, *, truncate: float = 4.0) -> list[float]:
    """Weights of a Gaussian of that many pixels, of sum 1, as far as `truncate` standard deviations either way."""
    reach = max(0, int(truncate * sigma + 0.5))
    weights = [math.exp(-0.5 * (n / sigma) ** 2) if sigma else 1.0 for n in range(-reach, reach + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def blurred(planes: Tensor, rows: list[float], columns: list[float]) -> Tensor:
    """Planes (N,H,W) under the weights of an odd number of rows and of columns; edges are continued."""
    return _along(_along(planes, rows, axis=1), columns, axis=2)


def _along(planes: Tensor, weights: list[float], *, axis: int) -> Tensor:
    reach, length = len(weights) // 2, planes.shape[axis]
    if reach == 0:
        return planes * weights[0]
    padding = (0, 0, reach, reach) if axis == 1 else (reach, reach, 0, 0)
    wide = F.pad(planes, padding, mode="replicate")
    total = wide.narrow(axis, reach, length) * weights[reach]
    for n in range(1, reach + 1):
        both = wide.narrow(axis, reach - n, length) + wide.narrow(axis, reach + n, length)
        total.add_(both, alpha=weights[reach + n])
    return total


def white(count: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """float32 (count, H, W) of independent standard normal values."""
    return torch.randn((count, *shape), generator=generator, device=generator.device)


def coarse_noise(count: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """float32 (count, h, w): white noise smoothed over one pixel, of standard deviation 1."""
    weights = gaussian(0.8)
    return blurred(white(count, shape, generator), weights, weights) / _product(weights, weights)


def upsampled(planes: Tensor, shape: tuple[int, int]) -> Tensor:
    """float32 (N, *shape) between planes (N,h,w) whose first and last pixels coincide with its own."""
    return F.interpolate(planes[:, None], shape, mode="bilinear", align_corners=True)[:, 0]


def smooth_planes(count: int, grid: PlaneGrid, scale_mm: float, generator: torch.Generator) -> Tensor:
    """float32 (count, H, W) of mean 0 and standard deviation about 1 that change over `scale_mm`."""
    return upsampled(coarse_noise(count, grid.coarse_shape(scale_mm / 1.5), generator), grid.shape)


def spread_of(rows: list[float], columns: list[float], minus: float, wider: tuple[list[float], list[float]]) -> float:
    """Standard deviation of white noise blurred by `rows` and `columns`, less `minus` times that blurred `wider`."""
    far_rows, far_columns = _folded(rows, wider[0]), _folded(columns, wider[1])
    fine = _product(rows, rows) * _product(columns, columns)
    mixed = _product(rows, far_rows) * _product(columns, far_columns)
    coarse = _product(far_rows, far_rows) * _product(far_columns, far_columns)
    return math.sqrt(fine - 2 * minus * mixed + minus**2 * coarse)


def _folded(one: list[float], other: list[float]) -> list[float]:
    """The weights of both blurs, one after the other."""
    total = [0.0] * (len(one) + len(other) - 1)
    for n, a in enumerate(one):
        for m, b in enumerate(other):
            total[n + m] += a * b
    return total


def _product(one: list[float], other: list[float]) -> float:
    """Sum of products of two lists of weights, middle upon middle."""
    short, long = sorted((one, other), key=len)
    start = (len(long) - len(short)) // 2
    return sum(a * b for a, b in zip(short, long[start : start + len(short)], strict=True))
