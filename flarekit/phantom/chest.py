"""What lies above the diaphragm: lungs, heart, and the fat between them."""

from __future__ import annotations

import numpy as np

from flarekit.phantom.frame import Frame
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.tissues import Tissue

_DIAPHRAGM_MM = 3.0


def paint_chest(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    """Turn the part of the cavity above the diaphragm into lungs, heart and mediastinum."""
    z, _, _ = frame.grid.axes_mm()
    above = z - frame.diaphragm_mm[None]
    if not (above > 0).any():
        return
    cavity = tissue == Tissue.VISCERAL_FAT
    tissue[cavity & (np.abs(above + _DIAPHRAGM_MM / 2) < _DIAPHRAGM_MM / 2)] = Tissue.MUSCLE
    chest = cavity & (above > 0)
    tissue[chest] = Tissue.LUNG
    tissue[chest & (smooth_noise(frame.grid, 7.0, rng) > 1.8)] = Tissue.VEIN
    tissue[chest & _mediastinum(frame, rng)] = Tissue.VISCERAL_FAT
    _paint_heart(tissue, chest, frame, rng)


def _mediastinum(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """bool (Z,H,W): a column from the spine to the front, wide around the great vessels."""
    _, y, x = frame.grid.axes_mm()
    spine = frame.spine_mm[:, None, None, :]
    before = spine[..., 0] - y
    width = np.clip(30 - before / 4, 8, 30) + rng.uniform(-4, 4)
    return np.abs(x - spine[..., 1] - 8) < width


def _paint_heart(tissue: np.ndarray, chest: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    z, y, x = frame.grid.axes_mm()
    middle_y = frame.axis_mm[0] - frame.depth_mm * rng.uniform(0.25, 0.45)
    middle_x = frame.axis_mm[1] + rng.uniform(5, 30)
    row, column = frame.grid.voxels(np.array([[0.0, middle_y, middle_x]]))[0, 1:]
    base = float(frame.diaphragm_mm[row, column])
    if not np.isfinite(base):
        return
    size = rng.uniform(0.85, 1.15)
    dy, dx = (y - middle_y) / (48 * size), (x - middle_x) / (66 * size)
    tilt = 0.35
    dy, dx = dy * np.cos(tilt) - dx * np.sin(tilt), dx * np.cos(tilt) + dy * np.sin(tilt)
    away = np.sqrt(dy**2 + dx**2 + ((z - base - 35) / (48 * size)) ** 2)
    away = away + 0.06 * smooth_noise(frame.grid, 30.0, rng)
    tissue[chest & (away < 1.12)] = Tissue.VISCERAL_FAT
    tissue[chest & (away < 1.0)] = Tissue.HEART_WALL
    tissue[chest & (away < 0.8) & (smooth_noise(frame.grid, 40.0, rng) > -0.7)] = Tissue.HEART_BLOOD
