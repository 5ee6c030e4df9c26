"""Bowel: a colon that frames the cavity and loops of small bowel inside, with gas, fluid, contrast or stool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from flarekit.config.phantom import BodyRecipe
from flarekit.phantom.frame import Frame
from flarekit.phantom.grid import Grid, upsample, upsample_nearest
from flarekit.phantom.tissues import Tissue
from flarekit.phantom.tubes import Curve, smooth_curve_through
from flarekit.phantom.walks import random_starts, walk

_STEP_MM = 4.0  # of the grid that loops are laid out on
_FAR_MM = 45.0  # no loop is wider


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A stretch of bowel and what is in it."""

    curve: Curve
    content: np.ndarray  # (N,) Tissue at each point; BOWEL_WALL where it is collapsed
    gas_level: np.ndarray  # (N,) height of the gas's lower surface above the middle, in radii; inf for no gas
    haustra: float  # how much the radius swells and shrinks along the loop


def paint_bowel(tissue: np.ndarray, frame: Frame, recipe: BodyRecipe, rng: np.random.Generator) -> None:
    """Lay loops into the visceral fat (Z,H,W) below the diaphragm."""
    coarse = frame.grid.coarse(_STEP_MM)
    free = _free(frame.grid.subsample(tissue, coarse), frame, coarse)
    loops = [_colon(frame, recipe, rng), *_small_bowel(free, frame, coarse, recipe, rng)]
    wall_mm = rng.uniform(1.5, 3.5)
    below = ndimage.binary_dilation(free, iterations=2)
    signed, gas, content = _fields(loops, below, coarse)
    depth = upsample(signed, frame.grid.shape)
    allowed = tissue == Tissue.VISCERAL_FAT
    inside = allowed & (depth < -wall_mm)
    tissue[allowed & (depth < 0)] = Tissue.BOWEL_WALL
    tissue[inside] = upsample_nearest(content, frame.grid)[inside]
    tissue[inside & (upsample(gas, frame.grid.shape) < 0)] = Tissue.GAS


def _free(tissue: np.ndarray, frame: Frame, coarse: Grid) -> np.ndarray:
    z, _, _ = coarse.axes_mm()
    rows = np.round(np.linspace(0, frame.grid.shape[1] - 1, coarse.shape[1])).astype(int)
    columns = np.round(np.linspace(0, frame.grid.shape[2] - 1, coarse.shape[2])).astype(int)
    return (tissue == Tissue.VISCERAL_FAT) & (z < frame.diaphragm_mm[np.ix_(rows, columns)][None] - 8)


def _small_bowel(
    free: np.ndarray, frame: Frame, coarse: Grid, recipe: BodyRecipe, rng: np.random.Generator
) -> list[Loop]:
    z, y, _ = coarse.axes_mm()
    before = y < float(frame.spine_mm[:, 0].mean()) - 12
    middle = ndimage.binary_erosion(free & before & (z < frame.kidneys_mm + rng.uniform(20, 70)))
    low, high = recipe.bowel_loops
    count = max(int(rng.integers(low, high + 1) * min(middle.mean() * 15, 2)), 1)
    starts = random_starts(middle, coarse, count, rng)
    if len(starts) == 0:
        return []
    courses = walk(middle, coarse, starts, steps=int(rng.integers(20, 60)), step_mm=6.0, turn=0.35, rng=rng)
    courses = ndimage.gaussian_filter1d(courses, 1.2, axis=1, mode="nearest")
    contrast = rng.random() < 0.25
    return [_loop(course, rng.uniform(*recipe.loop_radius_mm), contrast, rng) for course in courses]


def _loop(course: np.ndarray, radius_mm: float, contrast: bool, rng: np.random.Generator) -> Loop:
    kinds = (Tissue.BOWEL_A, Tissue.BOWEL_B, Tissue.BOWEL_WALL, Tissue.BOWEL_CONTRAST)
    chances = (0.25, 0.25, 0.2, 0.3) if contrast else (0.4, 0.35, 0.25, 0.0)
    curve = smooth_curve_through(course, radius_mm, step_mm=3.0)
    content = _stretches(len(curve.points_mm), rng.choice(kinds, size=4, p=chances))
    gas = _stretches(len(curve.points_mm), np.where(rng.random(4) < 0.2, rng.uniform(-0.2, 0.8, 4), np.inf))
    return Loop(curve=curve, content=content, gas_level=gas, haustra=0.12)


def _colon(frame: Frame, recipe: BodyRecipe, rng: np.random.Generator) -> Loop:
    """Up on the patient's right, across in front, down on the left, and to the middle of the pelvis."""
    across, front = frame.width_mm * rng.uniform(0.72, 0.85), frame.depth_mm * rng.uniform(0.6, 0.8)
    up, sag = frame.kidneys_mm + rng.uniform(-30, 10), rng.uniform(10, 70)
    low = frame.crest_mm
    y, x = frame.axis_mm
    knots = np.array([
        (low - 30, y - 10, x - across * 0.8), (low + 20, y + 15, x - across), (up - 10, y + 10, x - across),
        (up, y - 0.5 * front, x - across * 0.7), (up - sag, y - front, x - 0.2 * across),
        (up - sag * 0.8, y - front, x + 0.3 * across), (up + 20, y - 0.6 * front, x + 0.75 * across),
        (up + rng.uniform(30, 70), y + 5, x + across), (up - 40, y + 20, x + across), (low, y + 20, x + across),
        (low - 60, y - 5, x + 0.7 * across), (low - 90, y - 20, x + 0.1 * across), (low - 140, y + 30, x),
    ])  # fmt: skip
    knots += rng.normal(0, 6, knots.shape)
    curve = smooth_curve_through(knots, rng.uniform(*recipe.colon_radius_mm), step_mm=3.0)
    kinds = (Tissue.STOOL, Tissue.BOWEL_A, Tissue.BOWEL_B, Tissue.BOWEL_WALL)
    content = rng.choice(kinds, size=12, p=(0.5, 0.15, 0.15, 0.2))
    gas = np.where(rng.random(12) < 0.55, rng.uniform(-0.9, 0.7, 12), np.inf)
    count = len(curve.points_mm)
    return Loop(curve=curve, content=_stretches(count, content), gas_level=_stretches(count, gas), haustra=0.22)


def _stretches(length: int, values: np.ndarray) -> np.ndarray:
    return values[np.arange(length) * len(values) // length]


def _fields(loops: list[Loop], where: np.ndarray, coarse: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """On the coarse grid: signed distance to the nearest loop's surface in mm, height over its gas in mm, content."""
    points = np.concatenate([loop.curve.points_mm for loop in loops])
    content = np.concatenate([loop.content for loop in loops]).astype(np.uint8)
    level = np.concatenate([loop.gas_level for loop in loops])
    radius = np.concatenate([_swollen(loop) for loop in loops])
    voxels = np.argwhere(where)
    positions = voxels * np.array(coarse.spacing_mm)
    away, nearest = cKDTree(points).query(positions, distance_upper_bound=_FAR_MM)
    nearest = np.minimum(nearest, len(points) - 1)
    place = tuple(voxels.T)
    signed = np.full(coarse.shape, _FAR_MM, dtype=np.float32)
    gas = np.full(coarse.shape, _FAR_MM, dtype=np.float32)
    kinds = np.full(coarse.shape, Tissue.BOWEL_WALL, dtype=np.uint8)
    signed[place] = np.minimum(away - radius[nearest], _FAR_MM)
    height = positions[:, 1] - points[nearest, 1] + level[nearest] * radius[nearest]
    gas[place] = np.clip(height, -_FAR_MM, _FAR_MM)
    kinds[place] = content[nearest]
    return signed, gas, kinds


def _swollen(loop: Loop) -> np.ndarray:
    along = np.arange(len(loop.curve.radius_mm)) * 3.0
    return loop.curve.radius_mm * (1 + loop.haustra * np.sin(along * 2 * np.pi / 32))
