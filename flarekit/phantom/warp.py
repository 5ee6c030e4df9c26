"""Label maps deformed, moved, cropped and extended onto the grid of a painting.

Organs are interpolated one by one (trilinear), so that borders stay smooth where the output is finer than the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from flarekit.config.phantom import WarpRecipe
from flarekit.phantom.grid import Grid
from flarekit.phantom.noise import coarse_noise

_SLAB = 16  # slices sampled at a time
_GROW = 3  # voxels that trilinear borders may lie beyond nearest ones

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Where each voxel of the output comes from: position_in = matrix @ position_out + offset + elastic."""

    source: Grid
    target: Grid
    matrix: np.ndarray  # (3, 3) over (z, y, x) mm
    offset_mm: np.ndarray  # (3,)
    elastic_mm: np.ndarray  # float32 (3, z, y, x), a coarse displacement field over the target

    def onto(self, target: Grid) -> Warp:
        """The same warp to another grid that shares its middle with this one's target."""
        shift = (self.target.extent_mm - target.extent_mm) / 2
        return replace(self, target=target, offset_mm=self.offset_mm + self.matrix @ shift)

    def coordinates(self, box: Box) -> torch.Tensor:
        """float32 (1, Z, H, W, 3): where the box's voxels lie in the source, in grid_sample's -1..1 and (x, y, z)."""
        axes = [axis.ravel()[s] for axis, s in zip(self.target.axes_mm(), box, strict=True)]
        moved = self._elastic(axes)
        z, y, x = axes
        ends = np.maximum(self.source.extent_mm, 1e-3)
        for i in range(3):
            row = self.matrix[i].astype(np.float32)
            moved[i] += (row[0] * z + np.float32(self.offset_mm[i]))[:, None, None]
            moved[i] += (row[1] * y)[:, None] + row[2] * x
            moved[i] *= np.float32(2 / ends[i])
        return torch.from_numpy(np.stack([moved[2], moved[1], moved[0]], axis=-1) - np.float32(1))[None]

    def _elastic(self, axes_mm: list[np.ndarray]) -> np.ndarray:
        """float32 (3, Z, H, W) mm: the displacement at those heights, rows and columns."""
        field = self.elastic_mm
        for axis, positions in enumerate(axes_mm, start=1):
            step = max(float(self.target.extent_mm[axis - 1]), 1e-3) / max(field.shape[axis] - 1, 1)
            field = np.moveaxis(_interpolate(np.moveaxis(field, axis, -1), positions / np.float32(step)), -1, axis)
        return np.ascontiguousarray(field)


def _interpolate(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float32 (..., N): values (..., K) between their last axis's entries, at ascending fractional indices (N,)."""
    out = np.empty((*values.shape[:-1], len(at)), dtype=np.float32)
    last = values.shape[-1] - 1
    cells = np.clip(at.astype(int), 0, max(last - 1, 0))
    for cell in np.unique(cells):
        here = slice(*np.searchsorted(cells, (cell, cell + 1)))
        low, high = values[..., cell, None], values[..., min(cell + 1, last), None]
        out[..., here] = low + (high - low) * (at[here] - np.float32(cell))
    return out


def warp_labels(labels: np.ndarray, warp: Warp) -> np.ndarray:
    """uint8 classes on the warp's target grid of uint8 classes (Z,H,W) on its source grid; 0 outside the source."""
    nearest = _sample_nearest(labels, warp)
    total = np.zeros(warp.target.shape, dtype=np.float32)
    best = np.zeros(warp.target.shape, dtype=np.float32)
    out = np.zeros(warp.target.shape, dtype=np.uint8)
    sources = ndimage.find_objects(labels)
    for index, box in enumerate(ndimage.find_objects(nearest), start=1):
        if box is None:
            continue
        box = _grow(box, nearest.shape)
        share = _sample_class(labels, index, _grow(sources[index - 1], labels.shape), warp, box)
        total[box] += share
        wins = share > best[box]
        out[box][wins] = index
        best[box][wins] = share[wins]
    out[total < 0.5 - 1e-3] = 0
    return out


def draw_warp(
    labels: np.ndarray, source: Grid, spacing_mm: tuple[float, float, float], size: int | None,
    recipe: WarpRecipe, rng: np.random.Generator,
) -> Warp:  # fmt: skip
    """One random warp of a label map (Z,H,W) to a grid of that spacing, `size` pixels square in plane.

    Without `size` the output covers what the source covers.
    """
    scale = rng.uniform(*recipe.scale) * (1 + (rng.uniform(*recipe.scale, 3) - np.mean(recipe.scale)) / 3)
    low, high = _draw_range_mm(labels, source, recipe, rng)
    target = _target(source, (high - low) * scale[0], spacing_mm, size)
    angles = np.radians(recipe.rotation_deg) * rng.uniform(-1, 1, 3) * (1.0, 0.5, 0.5)
    matrix = _rotation(*angles) / scale
    middle_in = np.array([(low + high) / 2, *source.extent_mm[1:] / 2])
    middle_out = target.extent_mm / 2 + np.array([0.0, *rng.uniform(-1, 1, 2)]) * recipe.shift_mm
    coarse = target.coarse(recipe.elastic_scale_mm)
    elastic = np.stack([coarse_noise(coarse, rng) * np.float32(recipe.elastic_mm) for _ in range(3)])
    return Warp(
        source=source, target=target, matrix=matrix, offset_mm=middle_in - matrix @ middle_out, elastic_mm=elastic
    )


def remove_organs(
    labels: np.ndarray, classes: dict[str, int], recipe: WarpRecipe, rng: np.random.Generator
) -> np.ndarray:
    """The label map without the organs that this patient happens to have lost (`classes` by organ name)."""
    lost = ["gallbladder"] if rng.random() < recipe.remove_gallbladder else []
    side = ("right", "left")[rng.integers(2)]
    if rng.random() < recipe.remove_kidney:
        lost += [f"{side}_kidney", f"{side}_adrenal_gland"]
    gone = [classes[name] for name in lost if name in classes]
    return np.where(np.isin(labels, gone), np.uint8(0), labels) if gone else labels


def _draw_range_mm(
    labels: np.ndarray, source: Grid, recipe: WarpRecipe, rng: np.random.Generator
) -> tuple[float, float]:
    low, high = 0.0, float(source.extent_mm[0])
    holds = np.flatnonzero(labels.any(axis=(1, 2))) * source.spacing_mm[0]
    bottom, top = float(holds[0]), float(holds[-1])
    crop, side, part = rng.random() < recipe.crop, rng.random(), rng.uniform(0.1, 0.45)
    extend, further = rng.random() < recipe.extend_below, rng.uniform(*recipe.extend_mm)
    if crop and side < 0.5:
        return bottom + part * (top - bottom), high
    if crop:
        high = top - part * (top - bottom)
    return (low - further if extend else low), high


def _target(source: Grid, height_mm: float, spacing_mm: tuple[float, float, float], size: int | None) -> Grid:
    slices = max(int(round(height_mm / spacing_mm[0])) + 1, 1)
    covered = [int(round(n * s / t)) for n, s, t in zip(source.shape, source.spacing_mm, spacing_mm, strict=True)]
    rows, columns = (size, size) if size else covered[1:]
    return Grid(shape=(slices, rows, columns), spacing_mm=spacing_mm)


def _rotation(in_plane: float, tilt: float, sway: float) -> np.ndarray:
    """(3, 3) over (z, y, x): a turn about z, then about x, then about y (radians)."""
    matrix = np.eye(3)
    for (a, b), angle in zip(((1, 2), (0, 1), (0, 2)), (in_plane, tilt, sway), strict=True):
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _slabs(shape: tuple[int, ...]) -> Iterator[Box]:
    for start in range(0, shape[0], _SLAB):
        yield slice(start, min(start + _SLAB, shape[0])), slice(0, shape[1]), slice(0, shape[2])


def _sample_nearest(labels: np.ndarray, warp: Warp) -> np.ndarray:
    out = np.empty(warp.target.shape, dtype=np.uint8)
    source = torch.from_numpy(labels.astype(np.float32))[None, None]
    for box in _slabs(out.shape):
        sampled = F.grid_sample(source, warp.coordinates(box), mode="nearest", padding_mode="zeros", align_corners=True)
        out[box] = sampled[0, 0].numpy()
    return out


def _sample_class(labels: np.ndarray, index: int, crop: Box, warp: Warp, box: Box) -> np.ndarray:
    """float32: the share of a class at the box's voxels, sampled from the crop of the source that holds the class."""
    mask = torch.from_numpy((labels[crop] == index).astype(np.float32))[None, None]
    grid = warp.coordinates(box)
    for axis, (s, n) in enumerate(zip(crop[::-1], labels.shape[::-1], strict=True)):
        size = s.stop - s.start
        voxel = (grid[..., axis] + 1) * (0.5 * (n - 1)) - s.start
        grid[..., axis] = voxel * (2 / max(size - 1, 1)) - 1
    return F.grid_sample(mask, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0, 0].numpy()


def _grow(box: Box, shape: tuple[int, ...]) -> Box:
    z, y, x = (slice(max(s.start - _GROW, 0), min(s.stop + _GROW, n)) for s, n in zip(box, shape, strict=True))
    return z, y, x
