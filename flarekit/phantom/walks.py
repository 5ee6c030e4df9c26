"""Random walks that stay inside a mask: the courses of bowel loops and of small vessels."""

from __future__ import annotations

import numpy as np

from flarekit.phantom.grid import Grid

_TRIES = 6


def walk(
    mask: np.ndarray, grid: Grid, starts_mm: np.ndarray, steps: int, step_mm: float, turn: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """(N, steps, 3) mm: walks from (N, 3) starts that turn at random, sharply only to stay in the bool mask."""
    position = np.array(starts_mm, dtype=float)
    direction = _unit(rng.normal(size=position.shape) * (0.5, 1.0, 1.0))
    courses = np.empty((len(position), steps, 3))
    everyone = np.arange(len(position))
    spread = turn * np.linspace(1, 8, _TRIES)[:, None]
    for step in range(steps):
        courses[:, step] = position
        tries = _unit(direction[:, None] + spread * rng.normal(size=(len(position), _TRIES, 3)))
        ahead = position[:, None] + step_mm * tries
        good = _inside(mask, grid, ahead)
        first, moves = np.argmax(good, axis=1), np.any(good, axis=1)
        direction = np.where(moves[:, None], tries[everyone, first], -direction)
        position = np.where(moves[:, None], ahead[everyone, first], position)
    return courses


def random_starts(mask: np.ndarray, grid: Grid, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) mm: voxels of a bool mask drawn at random; none when the mask is empty."""
    voxels = np.flatnonzero(mask)
    if len(voxels) == 0:
        return np.zeros((0, 3))
    chosen = np.unravel_index(voxels[rng.integers(len(voxels), size=count)], mask.shape)
    return np.stack(chosen, axis=1) * np.array(grid.spacing_mm)


def _inside(mask: np.ndarray, grid: Grid, positions_mm: np.ndarray) -> np.ndarray:
    index = np.round(positions_mm / np.array(grid.spacing_mm)).astype(int)
    fits = np.all((index >= 0) & (index < np.array(mask.shape)), axis=-1)
    index = np.clip(index, 0, np.array(mask.shape) - 1)
    return np.logical_and(fits, mask[tuple(np.moveaxis(index, -1, 0))])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
