"""What shows inside labelled organs: medulla, lumen, vessels, calcifications. Labels never change."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from flarekit.config.phantom import TissueRecipe
from flarekit.phantom.grid import Grid
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.tissues import Tissue
from flarekit.phantom.tubes import smooth_curve_through, stamp
from flarekit.phantom.walks import random_starts, walk

Box = tuple[slice, slice, slice]


def paint_organs(
    tissue: np.ndarray, organs: np.ndarray, grid: Grid, recipe: TissueRecipe, rng: np.random.Generator
) -> None:
    """Put organs (Tissue ids, 0 where there is none) and their insides into tissue (Z,H,W)."""
    np.copyto(tissue, organs, where=organs > 0)
    boxes = ndimage.find_objects(organs, max_label=int(Tissue.OTHER_ORGAN))
    vessels = rng.random(2) < recipe.organ_vessels
    for organ, box in enumerate(boxes, start=1):
        if box is None:
            continue
        view, mask = tissue[box], organs[box] == organ
        part = Grid(shape=mask.shape, spacing_mm=grid.spacing_mm)
        if organ in (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY):
            _paint_medulla(view, mask, part, rng)
        elif organ in (Tissue.STOMACH, Tissue.DUODENUM, Tissue.ESOPHAGUS):
            _paint_lumen(view, mask, part, Tissue(organ), rng)
        elif organ == Tissue.LIVER and vessels[0]:
            _paint_vessels(view, mask, part, Tissue.LIVER_VESSEL, int(rng.integers(15, 45)), rng)
        elif organ == Tissue.SPLEEN and vessels[1]:
            _paint_vessels(view, mask, part, Tissue.SPLEEN_VESSEL, int(rng.integers(1, 6)), rng)
        elif organ == Tissue.GALLBLADDER and rng.random() < 0.12:
            _paint_stones(view, mask, part, rng)
        elif organ == Tissue.AORTA and rng.random() < 0.4:
            _paint_plaques(view, mask, part, rng)


def _depth(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """float32 mm below the organ's surface; cut ends of the volume are no surface."""
    padded = np.pad(mask, 1, mode="edge")
    return ndimage.distance_transform_edt(padded, sampling=grid.spacing_mm)[1:-1, 1:-1, 1:-1].astype(np.float32)


def _paint_medulla(view: np.ndarray, mask: np.ndarray, grid: Grid, rng: np.random.Generator) -> None:
    pyramids = smooth_noise(grid, 11.0, rng) > rng.uniform(-0.6, 0.3)
    view[mask & (_depth(mask, grid) > rng.uniform(4.5, 7.5)) & pyramids] = Tissue.MEDULLA


def _paint_lumen(view: np.ndarray, mask: np.ndarray, grid: Grid, organ: Tissue, rng: np.random.Generator) -> None:
    """Content under a level of gas, which rises to the front of a patient who lies on the back."""
    wall_mm = {Tissue.STOMACH: rng.uniform(2.5, 6), Tissue.DUODENUM: rng.uniform(2, 4.5)}.get(organ, 3.5)
    empty = {Tissue.STOMACH: 0.15, Tissue.DUODENUM: 0.4}.get(organ, 0.95)
    gassy = {Tissue.STOMACH: 0.7, Tissue.DUODENUM: 0.25}.get(organ, 0.3)
    kinds = (Tissue.LUMEN_FLUID, Tissue.LUMEN_FOOD, Tissue.LUMEN_CONTRAST)
    content = rng.choice(kinds, p=(0.5, 0.3, 0.2))
    folds = 1.2 * smooth_noise(grid, 12.0, rng)
    lumen = mask & (_depth(mask, grid) + folds > wall_mm)
    filled, gas, part = rng.random() >= empty, rng.random() < gassy, rng.uniform(0.1, 0.75)
    rows = np.nonzero(lumen)[1]
    if len(rows) == 0:
        return
    if filled:
        view[lumen] = content
    if gas:
        level = np.quantile(rows, part)
        view[lumen & (np.arange(mask.shape[1])[None, :, None] < level)] = Tissue.GAS


def _paint_vessels(
    view: np.ndarray, mask: np.ndarray, grid: Grid, what: Tissue, count: int, rng: np.random.Generator
) -> None:
    """Branches that start wide near the organ's middle and thin out."""
    middle = np.argwhere(mask).mean(axis=0) * np.array(grid.spacing_mm)
    starts = middle + 0.35 * (random_starts(mask, grid, count, rng) - middle)
    courses = walk(mask, grid, starts, steps=14, step_mm=6.0, turn=0.25, rng=rng)
    tubes = np.zeros(mask.shape, dtype=bool)
    for course in courses:
        stamp(tubes, grid, smooth_curve_through(course, np.linspace(rng.uniform(2, 5), 1.0, len(course))))
    view[tubes & mask] = what


def _paint_stones(view: np.ndarray, mask: np.ndarray, grid: Grid, rng: np.random.Generator) -> None:
    rows = np.nonzero(mask)[1]
    low = np.arange(mask.shape[1])[None, :, None] > np.quantile(rows, rng.uniform(0.75, 0.92))
    stones = smooth_noise(grid, 5.0, rng) > 0.3
    view[mask & low & stones & (_depth(mask, grid) > 1.5)] = Tissue.CALCIFICATION


def _paint_plaques(view: np.ndarray, mask: np.ndarray, grid: Grid, rng: np.random.Generator) -> None:
    plaques = smooth_noise(grid, 8.0, rng) > rng.uniform(1.4, 2.2)
    view[mask & (_depth(mask, grid) < 2.5) & plaques] = Tissue.CALCIFICATION
