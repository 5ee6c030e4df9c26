"""Vessels without a label that look like labelled ones: portal, splenic, renal, mesenteric and iliac."""

from __future__ import annotations

import numpy as np

from flarekit.phantom.frame import Frame
from flarekit.phantom.grid import Grid
from flarekit.phantom.tissues import Tissue
from flarekit.phantom.tubes import Curve, smooth_curve_through, stamp
from flarekit.phantom.walks import random_starts, walk

_STEP_MM = 4.0


def paint_vessels(tissue: np.ndarray, organs: np.ndarray, frame: Frame, rng: np.random.Generator) -> None:
    """Draw vessels into the visceral fat of tissue (Z,H,W) around organs (Tissue ids, 0 where there is none)."""
    coarse = frame.grid.coarse(_STEP_MM)
    small = frame.grid.subsample(organs, coarse)
    places = {t: np.argwhere(small == t) * np.array(coarse.spacing_mm) for t in np.unique(small[small > 0])}
    veins = _portal_system(places, rng) + _to_kidneys(places, Tissue.INFERIOR_VENA_CAVA, (4, 6), rng)
    veins += _iliac(places, Tissue.INFERIOR_VENA_CAVA, (6, 8.5), rng)
    arteries = _to_kidneys(places, Tissue.AORTA, (2.2, 3.2), rng) + _iliac(places, Tissue.AORTA, (4.5, 7), rng)
    arteries += _from_aorta(places, rng)
    fat = frame.grid.subsample(tissue, coarse) == Tissue.VISCERAL_FAT
    veins += _mesenteric(fat, coarse, frame, int(rng.integers(20, 90)), rng)
    nodes = [_blob(start, rng.uniform(2.5, 6)) for start in random_starts(fat, coarse, int(rng.integers(0, 12)), rng)]
    for curves, what in ((nodes, Tissue.NODE), (veins, Tissue.VEIN), (arteries, Tissue.ARTERY)):
        _paint(tissue, frame.grid, curves, what)


def _paint(tissue: np.ndarray, grid: Grid, curves: list[Curve], what: Tissue) -> None:
    mask = np.zeros(grid.shape, dtype=bool)
    for curve in curves:
        stamp(mask, grid, curve)
    tissue[mask & (tissue == Tissue.VISCERAL_FAT)] = what


def _portal_system(places: dict[int, np.ndarray], rng: np.random.Generator) -> list[Curve]:
    """Splenic vein behind the pancreas, portal vein from its neck to the liver, superior mesenteric vein downwards."""
    if not {Tissue.PANCREAS, Tissue.LIVER} <= places.keys():
        return []
    pancreas, liver = places[Tissue.PANCREAS], places[Tissue.LIVER]
    pancreas = pancreas[np.argsort(pancreas[:, 2], kind="stable")]
    behind = np.array([part.mean(axis=0) for part in np.array_split(pancreas, 5)]) + (0, rng.uniform(5, 11), 0)
    neck = behind[1]
    hilum = liver[np.linalg.norm(liver - neck - (25, 0, 0), axis=1).argmin()]
    inner = hilum + 0.35 * (liver.mean(axis=0) - hilum)
    curves = [smooth_curve_through(np.array([neck, (neck + hilum) / 2, inner]), rng.uniform(5.5, 8))]
    down = neck + np.array([[0, 0, 0], [-25, -4, 2], [-60, -8, 0], [-95, -14, rng.uniform(-20, 10)]])
    curves.append(smooth_curve_through(down, [6.5, 6, 5, 3]))
    if Tissue.SPLEEN in places:
        spleen = places[Tissue.SPLEEN]
        gate = spleen[np.linalg.norm(spleen - behind[-1], axis=1).argmin()]
        curves.append(smooth_curve_through(np.vstack([behind[1:], gate]), rng.uniform(3.5, 5.5)))
    return curves


def _to_kidneys(
    places: dict[int, np.ndarray], trunk: Tissue, radius_mm: tuple[float, float], rng: np.random.Generator
) -> list[Curve]:
    curves = []
    for kidney in (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY):
        if not {trunk, kidney} <= places.keys():
            continue
        end = places[kidney].mean(axis=0) + (rng.uniform(-5, 8), 0, 0)
        start = _at_height(places[trunk], end[0] + rng.uniform(0, 12))
        middle = (start + end) / 2 + (0, rng.uniform(-6, 4), 0)
        curves.append(smooth_curve_through(np.array([start, middle, end]), rng.uniform(*radius_mm)))
    return curves


def _iliac(
    places: dict[int, np.ndarray], trunk: Tissue, radius_mm: tuple[float, float], rng: np.random.Generator
) -> list[Curve]:
    """The two vessels that the trunk divides into below its lowest labelled slice."""
    if trunk not in places or places[trunk][:, 0].min() <= 0:
        return []
    start = _at_height(places[trunk], places[trunk][:, 0].min())
    curves = []
    for side in (-1, 1):
        course = np.array([[0, 0, 0], [-30, 4, 16 * side], [-75, 16, 42 * side], [-125, -8, 66 * side]])
        course = course + rng.normal(0, 3, course.shape) * (course != 0)
        curves.append(smooth_curve_through(start + course, rng.uniform(*radius_mm)))
    return curves


def _from_aorta(places: dict[int, np.ndarray], rng: np.random.Generator) -> list[Curve]:
    """Superior mesenteric artery, and the splenic artery that winds along the pancreas."""
    if not {Tissue.AORTA, Tissue.PANCREAS} <= places.keys():
        return []
    pancreas = places[Tissue.PANCREAS]
    start = _at_height(places[Tissue.AORTA], pancreas[:, 0].mean())
    down = start + np.array([[0, -6, 0], [-8, -22, -2], [-40, -30, -4], [-95, -34, rng.uniform(-25, 5)]])
    curves = [smooth_curve_through(down, [4.5, 4, 3.5, 2])]
    if Tissue.SPLEEN in places:
        spleen = places[Tissue.SPLEEN]
        gate = spleen[np.linalg.norm(spleen - pancreas.mean(axis=0), axis=1).argmin()]
        course = np.linspace(start + (14, -18, 0), gate, 7)
        course[1:-1] += rng.normal(0, 5, (5, 3))
        curves.append(smooth_curve_through(course, rng.uniform(2, 3.5)))
    return curves


def _mesenteric(fat: np.ndarray, coarse: Grid, frame: Frame, count: int, rng: np.random.Generator) -> list[Curve]:
    z, y, _ = coarse.axes_mm()
    front = fat & (y < float(frame.spine_mm[:, 0].mean()) - 20)
    starts = random_starts(front, coarse, count, rng)
    if len(starts) == 0:
        return []
    courses = walk(front, coarse, starts, steps=12, step_mm=6.0, turn=0.3, rng=rng)
    return [smooth_curve_through(course, rng.uniform(1.2, 2.6)) for course in courses]


def _blob(middle: np.ndarray, radius_mm: float) -> Curve:
    return Curve(points_mm=middle[None] + np.array([[0.0, 0, 0], [2, 1, 2]]), radius_mm=np.full(2, radius_mm))


def _at_height(positions: np.ndarray, height_mm: float) -> np.ndarray:
    """The middle of the slice nearest to a height."""
    heights = positions[:, 0]
    nearest = heights[np.abs(heights - height_mm).argmin()]
    return positions[heights == nearest].mean(axis=0)
