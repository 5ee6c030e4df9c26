"""The trunk's layers from the skin inwards, and what lies beside it: arms and table."""

from __future__ import annotations

import numpy as np

from flarekit.config.phantom import BodyRecipe
from flarekit.phantom.frame import Frame
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.tissues import Tissue

_SKIN_MM = 2.0


def paint_torso(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    """Fill tissue (Z,H,W) with skin, fat under it, the muscular wall, and a cavity full of visceral fat."""
    radius, _ = frame.polar()
    skin = frame.spread(frame.skin_mm)
    tissue[radius < skin] = Tissue.SKIN
    tissue[radius < skin - _SKIN_MM] = Tissue.SUBCUTANEOUS_FAT
    wall = radius < frame.spread(frame.muscle_mm)
    tissue[wall] = Tissue.MUSCLE
    tissue[wall & (smooth_noise(frame.grid, 8.0, rng) > rng.uniform(1.1, 1.9))] = Tissue.SUBCUTANEOUS_FAT
    tissue[radius < frame.spread(frame.inner_mm)] = Tissue.VISCERAL_FAT


def paint_outside(tissue: np.ndarray, frame: Frame, recipe: BodyRecipe, rng: np.random.Generator) -> None:
    """Add arms and a table where there is air."""
    table, arms = rng.random() < recipe.table, rng.random() < recipe.arms
    if table:
        _paint_table(tissue, frame, rng)
    if arms:
        _paint_arms(tissue, frame, rng)


def _paint_table(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    _, y, x = frame.grid.axes_mm()
    back = frame.axis_mm[0] + frame.skin_mm[:, frame.skin_mm.shape[1] // 4].max()
    sag = y - back - rng.uniform(2, 12) + (x - frame.axis_mm[1]) ** 2 * rng.uniform(0, 1) / 4000
    thickness = rng.uniform(3.5, 8)
    shell = (np.abs(sag) < thickness / 2) | (np.abs(sag - rng.uniform(25, 60)) < thickness / 2)
    shell &= np.abs(x - frame.axis_mm[1]) < rng.uniform(180, 260)
    tissue[(tissue == Tissue.AIR) & shell] = Tissue.TABLE


def _paint_arms(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    z, y, x = frame.grid.axes_mm()
    middle_y = frame.axis_mm[0] + rng.uniform(-10, 40)
    slope = rng.uniform(-0.1, 0.1)
    for side, angle in ((1, 0), (-1, frame.skin_mm.shape[1] // 2)):
        reach = frame.skin_mm[:, angle].max() + rng.uniform(28, 50)
        away = np.hypot(y - middle_y - slope * z, x - frame.axis_mm[1] - side * reach)
        size = rng.uniform(30, 42)
        for part, what in ((1.0, Tissue.SKIN), (0.95, Tissue.SUBCUTANEOUS_FAT), (0.8, Tissue.MUSCLE)):
            tissue[(tissue == Tissue.AIR) & (away < size)] = Tissue.SKIN
            tissue[(tissue >= Tissue.SKIN) & (tissue <= Tissue.MUSCLE) & (away < size * part)] = what
        tissue[away < 11] = Tissue.CORTEX
        tissue[away < 7] = Tissue.MARROW
