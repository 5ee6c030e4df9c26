"""Where the body around labelled organs lies: outline, spine, diaphragm and pelvis, guessed from the organs.

Label maps hold organs alone. The aorta and the vena cava tell where the spine is, the organs' outline how wide
the abdominal cavity is, their upper surface where the diaphragm is, and the aorta's end where the pelvis begins.
The outline is star-shaped about one axis: radii by slice and angle, the angle counted from the patient's left
(+x) towards the back (+y).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from flarekit.config.phantom import BodyRecipe
from flarekit.phantom.grid import Grid, upsample
from flarekit.phantom.noise import smooth_circle, smooth_curve
from flarekit.phantom.tissues import Tissue

BINS = 128
ANGLES = np.arange(BINS) * 2 * np.pi / BINS
_STEP_MM = 4.0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The body's geometry on a grid, mm from voxel 0."""

    grid: Grid
    axis_mm: np.ndarray  # (2,) y, x of the axis that the radii count from
    inner_mm: np.ndarray  # (Z, BINS) radius of the cavity that holds the organs
    muscle_mm: np.ndarray  # (Z, BINS) radius of the wall's outer side
    skin_mm: np.ndarray  # (Z, BINS) radius of the skin
    spine_mm: np.ndarray  # (Z, 2) y, x of the middle of the vertebral bodies
    width_mm: float  # half the cavity's width
    depth_mm: float  # from the axis to the front of the cavity
    diaphragm_mm: np.ndarray  # float32 (H, W): height above which a column is chest
    kidneys_mm: float  # height of the middle of the kidneys
    crest_mm: float  # height of the iliac crest

    def polar(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 (1,H,W) radius in mm and angle in bins, 0..BINS."""
        _, y, x = self.grid.axes_mm()
        dy, dx = y - np.float32(self.axis_mm[0]), x - np.float32(self.axis_mm[1])
        return np.hypot(dy, dx), (np.arctan2(dy, dx) % (2 * np.pi)) * np.float32(BINS / (2 * np.pi))

    def spread(self, table: np.ndarray) -> np.ndarray:
        """float32 (Z,H,W): a table (Z, BINS) looked up at every voxel's angle."""
        _, angle = self.polar()
        low = angle[0].astype(np.int64) % BINS
        part = (angle[0] - np.floor(angle[0])).astype(np.float32)
        table = table.astype(np.float32)
        return table[:, low] * (1 - part) + table[:, (low + 1) % BINS] * part


def shows_organs(labels: np.ndarray, grid: Grid) -> bool:
    """Whether the coarse grid that a frame is guessed on has a labelled voxel of a map (Z,H,W)."""
    return bool(grid.subsample(labels, grid.coarse(_STEP_MM)).any())


def guess_frame(tissue: np.ndarray, grid: Grid, recipe: BodyRecipe, rng: np.random.Generator) -> Frame:
    """The frame around organs, given as Tissue ids (Z,H,W) with 0 where there is none; the grid `shows_organs`."""
    coarse = grid.coarse(_STEP_MM)
    organs = grid.subsample(tissue, coarse)
    positions = np.argwhere(organs > 0) * np.array(coarse.spacing_mm)
    heights = np.arange(grid.shape[0]) * grid.spacing_mm[0]
    spine = _spine(organs, coarse, heights)
    right, left = np.percentile(positions[:, 2], (0.5, 99.5))
    front = np.percentile(positions[:, 1], 0.5)
    axis = np.array([(front + spine[:, 0].mean()) / 2 + 10, 0.4 * spine[:, 1].mean() + 0.3 * (left + right)])
    width = max((left - right) / 2, 95.0) + rng.uniform(*recipe.margin_mm)
    depth = max(axis[0] - front, 60.0) + rng.uniform(*recipe.margin_mm)
    back = max(float(spine[:, 0].mean()) + 28 - axis[0], 45.0)
    base = _superellipse(width, depth, back, rng.uniform(2.1, 2.7))
    inner = _cavity(organs, coarse, heights, axis, base, recipe.margin_mm[0], rng)
    muscle = inner + _wall(recipe, rng)
    return Frame(
        grid=grid, axis_mm=axis, inner_mm=inner, muscle_mm=muscle,
        skin_mm=_skin(muscle, recipe, rng), spine_mm=spine, width_mm=float(width),
        depth_mm=float(depth), diaphragm_mm=_diaphragm(organs, coarse, grid), kidneys_mm=_kidneys(organs, coarse),
        crest_mm=_crest(organs, coarse, rng),
    )  # fmt: skip


def _spine(organs: np.ndarray, grid: Grid, heights_mm: np.ndarray) -> np.ndarray:
    """(Z, 2): behind the aorta and between it and the vena cava; a straight line from side to side."""
    aorta = _centres(organs == Tissue.AORTA, grid)
    cava = _centres(organs == Tissue.INFERIOR_VENA_CAVA, grid)
    if len(aorta) < 2:
        aorta = cava + (0, 0, 25) if len(cava) >= 2 else _fallback(organs, grid)
    behind = np.interp(heights_mm, aorta[:, 0], aorta[:, 1]) + 26
    side = np.median(aorta[:, 2]) - 13
    if len(cava) >= 2:
        side = 0.5 * side + 0.25 * (np.median(aorta[:, 2]) + np.median(cava[:, 2]))
    step_mm = heights_mm[1] if len(heights_mm) > 1 else 5.0
    behind = ndimage.gaussian_filter1d(behind, 30 / step_mm, mode="nearest")
    return np.stack([behind, np.full_like(behind, side)], axis=1)


def _centres(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """(N, 3) mm: the middle of a mask in each slice that holds some of it."""
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    middles = [np.argwhere(mask[z]).mean(axis=0) for z in slices]
    if not middles:
        return np.zeros((0, 3))
    return np.column_stack([slices, np.array(middles)]) * np.array(grid.spacing_mm)


def _fallback(organs: np.ndarray, grid: Grid) -> np.ndarray:
    """Two points on a line before the spine, for maps without great vessels: mid-body, towards the back."""
    positions = np.argwhere(organs > 0) * np.array(grid.spacing_mm)
    y, x = np.percentile(positions[:, 1], 75), (positions[:, 2].min() + positions[:, 2].max()) / 2
    return np.array([[0, y, x], [float(grid.extent_mm[0]) + 1, y, x]])


def _cavity(
    organs: np.ndarray, coarse: Grid, heights_mm: np.ndarray, axis: np.ndarray, base: np.ndarray,
    margin_mm: float, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """(Z, BINS): the base outline, changing slowly along the body, widened where organs need room, on both sides."""
    step = coarse.spacing_mm[0]
    tight = _reach(organs, coarse, axis)
    both = np.maximum(tight, 0.95 * tight[:, (BINS // 2 - np.arange(BINS)) % BINS])
    wide = ndimage.maximum_filter(both, (2 * int(25 / step) + 1, 13), mode=("nearest", "wrap"))
    wide = ndimage.gaussian_filter(wide, (20 / step, 5), mode=("nearest", "wrap"))
    tight = ndimage.maximum_filter(tight, (2 * int(8 / step) + 1, 7), mode=("nearest", "wrap"))
    reach = np.maximum(wide, ndimage.gaussian_filter(tight, (6 / step, 2), mode=("nearest", "wrap")))
    reach = ndimage.map_coordinates(
        reach, np.meshgrid(heights_mm / step, np.arange(BINS), indexing="ij"), order=1, mode="nearest"
    )
    change = 1 + 0.04 * smooth_curve(len(heights_mm), 5, rng)[:, None]
    return np.maximum(base * change, reach + margin_mm)


def _superellipse(width: float, front: float, back: float, power: float) -> np.ndarray:
    """(BINS,): radii of an outline of that half width, with its own depth in front and behind."""
    depth = np.where(np.sin(ANGLES) > 0, back, front)
    return (np.abs(np.cos(ANGLES) / width) ** power + np.abs(np.sin(ANGLES) / depth) ** power) ** (-1 / power)


def _reach(organs: np.ndarray, grid: Grid, axis: np.ndarray) -> np.ndarray:
    """(Z, BINS): how far from the axis organs reach in each slice."""
    voxels = np.argwhere(organs > 0)
    dy, dx = (voxels[:, 1:] * np.array(grid.spacing_mm[1:]) - axis).T
    bins = np.round(np.arctan2(dy, dx) * BINS / (2 * np.pi)).astype(int) % BINS
    table = np.zeros((grid.shape[0], BINS))
    np.maximum.at(table, (voxels[:, 0], bins), np.hypot(dy, dx))
    return table


def _wall(recipe: BodyRecipe, rng: np.random.Generator) -> np.ndarray:
    """(1, BINS) thickness of the wall's muscles; those along the spine are thick."""
    behind = np.abs((ANGLES - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)
    plain = rng.uniform(*recipe.wall_mm) * (1 + 0.15 * smooth_circle(BINS, 6, rng))
    bulges = np.exp(-((behind / 0.62) ** 4)) - 0.3 * np.exp(-((behind / 0.13) ** 2))
    return (np.maximum(plain, 4) + rng.uniform(24, 40) * bulges)[None]


def _skin(muscle_mm: np.ndarray, recipe: BodyRecipe, rng: np.random.Generator) -> np.ndarray:
    """(Z, BINS): radius of the skin, over fat that fills the hollows between muscles."""
    around = 1 + 0.25 * smooth_circle(BINS, 3, rng) - 0.25 * np.cos(2 * ANGLES)
    along = 1 + 0.25 * smooth_curve(len(muscle_mm), 4, rng)[:, None]
    fat = np.maximum(rng.uniform(*recipe.subcutaneous_mm) * around * along, 3)
    smooth = ndimage.gaussian_filter1d(muscle_mm, 7, axis=1, mode="wrap")
    return np.maximum(smooth + fat, muscle_mm + 3)


def _diaphragm(organs: np.ndarray, coarse: Grid, grid: Grid) -> np.ndarray:
    """float32 (H, W): the organs' upper surface, going on beyond them and falling towards the wall."""
    domes = np.isin(organs, (Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH, Tissue.LEFT_KIDNEY, Tissue.RIGHT_KIDNEY))
    height = np.arange(len(organs))[:, None, None] * coarse.spacing_mm[0]
    top = np.where(domes, height, -1).max(axis=0)
    covered = top >= 0
    if not covered.any():
        return np.full(grid.shape[1:], np.inf, dtype=np.float32)
    away, (rows, columns) = ndimage.distance_transform_edt(
        ~covered, sampling=coarse.spacing_mm[1:], return_indices=True
    )
    level = top[rows, columns] - 0.5 * np.minimum(away, 60)
    level = ndimage.gaussian_filter(level, 2.0)
    level = np.maximum(level, np.where(covered, top, 0))
    return upsample(level[None], (1, *grid.shape[1:]))[0]


def _kidneys(organs: np.ndarray, grid: Grid) -> float:
    slices = np.flatnonzero(np.isin(organs, (Tissue.LEFT_KIDNEY, Tissue.RIGHT_KIDNEY)).any(axis=(1, 2)))
    if len(slices) == 0:
        slices = np.flatnonzero(organs.any(axis=(1, 2)))[:1]
    return float(slices.mean() * grid.spacing_mm[0])


def _crest(organs: np.ndarray, grid: Grid, rng: np.random.Generator) -> float:
    """The aorta divides at the fourth lumbar vertebra, about where the iliac crest is."""
    aorta = np.flatnonzero((organs == Tissue.AORTA).any(axis=(1, 2)))
    kidneys = _kidneys(organs, grid)
    if len(aorta) and aorta[0] > 0:
        return float(aorta[0] * grid.spacing_mm[0] + rng.uniform(-15, 5))
    return min(kidneys - rng.uniform(85, 110), rng.uniform(-40.0, 0.0))
