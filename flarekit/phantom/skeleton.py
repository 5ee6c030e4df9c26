"""Bones of the trunk: spine, ribs and pelvis, and the muscles that lie along the spine."""

from __future__ import annotations

import numpy as np

from flarekit.phantom.frame import ANGLES, Frame
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.tissues import Tissue

_CROP_MM = (45.0, 85.0, 70.0)  # before, behind and beside the vertebral bodies


def paint_skeleton(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    """Add ribs, pelvis, spine, psoas and the diaphragm's crura to a torso (Z,H,W)."""
    _paint_ribs(tissue, frame, rng)
    _paint_pelvis(tissue, frame, rng)
    _paint_hips(tissue, frame, rng)
    rows, columns = _spine_crop(frame)
    view = tissue[:, rows, columns]
    z, y, x = frame.grid.axes_mm()
    dy = y[:, rows] - frame.spine_mm[:, :1, None].astype(np.float32)
    dx = x[:, :, columns] - frame.spine_mm[:, 1:, None].astype(np.float32)
    below_crest = frame.crest_mm - z
    rx = np.clip(24 + below_crest * 0.02, 18.5, 26) * rng.uniform(0.9, 1.1)
    _paint_muscles(view, z, dy, dx, rx, frame, rng)
    _paint_vertebrae(view, dy, dx, rx, below_crest, rng)


def _spine_crop(frame: Frame) -> tuple[slice, slice]:
    before, behind, beside = _CROP_MM
    low = (0.0, frame.spine_mm[:, 0].min() - before, frame.spine_mm[:, 1].min() - beside)
    high = (0.0, frame.spine_mm[:, 0].max() + behind, frame.spine_mm[:, 1].max() + beside)
    (_, top, left), (_, bottom, right) = frame.grid.voxels(np.array([low, high]))
    return slice(top, bottom + 1), slice(left, right + 1)


def _paint_muscles(
    view: np.ndarray, z: np.ndarray, dy: np.ndarray, dx: np.ndarray, rx: np.ndarray,
    frame: Frame, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Psoas, which widens downwards and leaves the spine in the pelvis, and the crura beside the aorta."""
    inside = (view == Tissue.VISCERAL_FAT) | (view == Tissue.MUSCLE)
    size = np.clip((frame.kidneys_mm + 35 - z) * 0.17, 0, rng.uniform(16, 27)) + 1e-3
    down = np.maximum(frame.crest_mm - z, 0)
    away_x = (np.abs(dx) - rx - size * 0.65 - down * 0.25) / (size * 0.85)
    away_y = (dy - 5 + down * 0.3) / size
    view[inside & (away_x**2 + away_y**2 < 1)] = Tissue.MUSCLE
    crus = ((np.abs(dx - 3) - rx * 0.85) / 5) ** 2 + ((dy + rx * 0.55) / 13) ** 2 < 1
    view[inside & crus & (z > frame.kidneys_mm - 30)] = Tissue.MUSCLE


def _paint_vertebrae(
    view: np.ndarray, dy: np.ndarray, dx: np.ndarray, rx: np.ndarray, below_crest: np.ndarray, rng: np.random.Generator
) -> None:
    phase = (below_crest / rng.uniform(31, 38)) % 1.0
    ry, arch = rx * 0.74, rx * 0.74 + 7
    body = (dx / rx) ** 2 + (dy / ry) ** 2
    canal = (dx / 10) ** 2 + ((dy - arch) / 7.5) ** 2
    side, behind = np.abs(dx), dy - arch - 0.3 * np.abs(dx)
    processes = (np.abs(behind) < 3.5 - side * 0.04) & (side < 36) & (np.abs(phase - 0.55) < 0.1)
    spine = (side < 3) & (dy > arch + 7) & (dy < arch + 30 + 12 * phase) & (phase > 0.25)
    facets = ((side - 16) / 6) ** 2 + (behind / 7) ** 2 < 1
    bony = phase > 0.2
    view[(body < 1) & ~bony] = Tissue.DISC
    view[(canal < 2.1) & (phase < 0.85) | processes | spine] = Tissue.CORTEX
    view[facets & (phase < 0.6)] = Tissue.MARROW
    view[(body < 1) & bony] = Tissue.CORTEX
    view[(body < 0.86) & bony] = Tissue.MARROW
    view[canal < 1] = Tissue.CANAL


def _paint_ribs(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    """Ribs run in the wall, downwards from the spine to the front, the lower ones shorter; cartilage ends them."""
    z, _, _ = frame.grid.axes_mm()
    behind = np.abs((ANGLES - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)[None]
    drop = rng.uniform(70, 120) * np.clip(behind / 2.2, 0, 1.2) ** 1.3
    count = (z[:, :, 0] + drop - frame.kidneys_mm - rng.uniform(-5, 20)) / rng.uniform(26, 33)
    length = 0.9 + 0.45 * np.floor(count)
    bony = (count > 0) & (behind < np.minimum(length, 2.35)) & (behind > 0.25)
    ends = (count > 0) & (behind >= 2.35) & (behind < np.minimum(length, 2.9))
    shape = np.abs(count % 1 - 0.5)
    radius, _ = frame.polar()
    middle = frame.spread(frame.inner_mm) + np.float32(rng.uniform(4, 6))
    depth = np.abs(radius - middle) / 5
    profile = frame.spread(np.where(bony, shape, 1) / 0.22) ** 2 + depth**2
    tissue[(profile < 1) & (tissue != Tissue.AIR)] = Tissue.CORTEX
    tissue[(profile < 0.45) & (tissue != Tissue.AIR)] = Tissue.MARROW
    cartilage = frame.spread(np.where(ends, shape, 1) / 0.25) ** 2 + depth**2 < 1
    tissue[cartilage & (tissue != Tissue.AIR)] = Tissue.CARTILAGE


def _paint_pelvis(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    """Iliac wings and sacrum below the crest, buttocks outside them, the bladder further down."""
    z, y, x = frame.grid.axes_mm()
    down = frame.crest_mm - z
    if not (down > 0).any():
        return
    spine_y, spine_x = float(frame.spine_mm[:, 0].mean()), float(frame.spine_mm[:, 1].mean())
    side = np.abs(x - spine_x)
    body = (tissue != Tissue.AIR) & (tissue != Tissue.SKIN)
    reach = frame.width_mm * rng.uniform(0.85, 0.95)
    outwards = np.clip((side - 32) / 60, 0, 2)
    wing = spine_y + 24 - 48 * np.clip(down / 60, 0.15, 1.1) * outwards**1.6 + 6 * np.sin(3 * outwards)
    bone = np.abs(y - wing) / (5 + 3 * outwards) + 0.1 * smooth_noise(frame.grid, 25.0, rng)
    along = (side > 30) & (side < reach - np.clip(down - 70, 0, 60) * 0.4) & (down > 0) & (down < 130)
    buttocks = (y > wing + 6) & (side > 18) & (down > 5) & (tissue == Tissue.VISCERAL_FAT)
    tissue[buttocks & body] = Tissue.MUSCLE
    tissue[body & along & (bone < 1)] = Tissue.CORTEX
    tissue[body & along & (bone < 0.55)] = Tissue.MARROW
    sacrum = np.hypot(side / np.clip(58 - down * 0.25, 10, 58), (y - spine_y - 14 - down * 0.2) / 20)
    tissue[body & (sacrum < 1) & (down > 25) & (down < 140)] = Tissue.MARROW


def _paint_hips(tissue: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    z, y, x = frame.grid.axes_mm()
    deep = frame.crest_mm - rng.uniform(135, 160)
    if deep < -50:
        return
    side = np.abs(x - float(frame.spine_mm[:, 1].mean()))
    middle = frame.axis_mm[0]
    cavity = tissue == Tissue.VISCERAL_FAT
    walls = (side / 66) ** 2 + ((y - middle - 5) / 72) ** 2 > 1 + np.clip((z - deep) / 40, 0, 3)
    tissue[cavity & walls & (z < deep + 70)] = Tissue.MUSCLE
    socket = np.sqrt((side - 88) ** 2 + (y - middle) ** 2 + (z - deep) ** 2)
    body = tissue != Tissue.AIR
    tissue[body & (socket < 34)] = Tissue.CORTEX
    tissue[body & (socket < 26)] = Tissue.CARTILAGE
    tissue[body & (socket < 24)] = Tissue.MARROW
    bladder = ((z - deep - 10) / 42) ** 2 + ((y - middle + 20) / 38) ** 2 + (side / rng.uniform(35, 55)) ** 2
    tissue[cavity & (bladder < 1)] = Tissue.MUSCLE
    tissue[cavity & (bladder < 0.85)] = Tissue.URINE
