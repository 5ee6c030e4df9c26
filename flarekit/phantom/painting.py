"""A CT painted on a label map: the body around the organs, tissues, and the scanner."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flarekit.config.phantom import PhantomRecipe
from flarekit.errors import InputError
from flarekit.labels import FLARE22, LabelSet
from flarekit.phantom.above import go_on_above
from flarekit.phantom.bowel import paint_bowel
from flarekit.phantom.chest import paint_chest
from flarekit.phantom.frame import Frame, guess_frame, shows_organs
from flarekit.phantom.grid import Grid
from flarekit.phantom.lesions import add_lesions
from flarekit.phantom.metal import add_metal
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.organs import paint_organs
from flarekit.phantom.scanner import scan
from flarekit.phantom.skeleton import paint_skeleton
from flarekit.phantom.tissues import Palette, Tissue, draw_palette, organ_tissues
from flarekit.phantom.torso import paint_outside, paint_torso
from flarekit.phantom.vessels import paint_vessels
from flarekit.phantom.warp import draw_warp, remove_organs, warp_labels
from flarekit.volumes import Volume

_FEWEST_VOXELS = 100


def paint(
    labels: np.ndarray, spacing_mm: tuple[float, float, float], recipe: PhantomRecipe, seed: int | tuple[int, ...],
    *, organs: LabelSet = FLARE22,
) -> np.ndarray:  # fmt: skip
    """int16 HU (Z,H,W) of a body around the organs of a canonical label map, uint8 classes (Z,H,W).

    The same labels, recipe and seed give the same image, whatever the number of threads.
    Raises InputError when hardly anything is labelled.
    """
    grid = Grid(shape=labels.shape, spacing_mm=spacing_mm)
    tissue, frame = _paint_tissues(labels, grid, recipe, _key(seed), organs)
    rng = np.random.default_rng((*_key(seed), 2))
    palette = draw_palette(recipe.tissue, rng)
    hu = _hu(tissue, grid, palette, recipe, rng)
    add_lesions(hu, organ_tissues(organs)[labels], grid, palette, recipe.tissue, rng)
    if recipe.metal is not None:
        add_metal(hu, labels == 0, frame, recipe.metal, np.random.default_rng((*_key(seed), 4)))
    return scan(hu, frame, _reach_mm(labels, grid), recipe.scanner, np.random.default_rng((*_key(seed), 3)))


def paint_tissues(
    labels: np.ndarray, spacing_mm: tuple[float, float, float], recipe: PhantomRecipe, seed: int | tuple[int, ...],
    *, organs: LabelSet = FLARE22,
) -> np.ndarray:  # fmt: skip
    """uint8 Tissue ids (Z,H,W) that `paint` gives the same arguments' HU from: what each voxel is meant to be."""
    grid = Grid(shape=labels.shape, spacing_mm=spacing_mm)
    return _paint_tissues(labels, grid, recipe, _key(seed), organs)[0]


def paint_case(
    label_volume: Volume, recipe: PhantomRecipe, seed: int | tuple[int, ...], *,
    spacing_mm: tuple[float, float, float] | None = None, size: int | None = None, organs: LabelSet = FLARE22,
) -> tuple[Volume, Volume]:  # fmt: skip
    """A painted CT (int16 HU) and its labels (uint8 classes), warped together from a volume of classes.

    `spacing_mm` (z, h, w) and `size` (pixels in plane) choose the output's grid; by default it is the label map's.
    Raises InputError when hardly anything is labelled.
    """
    labels = warp_case(label_volume, recipe, seed, spacing_mm=spacing_mm, size=size, organs=organs)
    image = paint(labels.array, labels.spacing_mm, recipe, seed, organs=organs)
    return labels.like(image), labels


def warp_case(
    label_volume: Volume, recipe: PhantomRecipe, seed: int | tuple[int, ...], *,
    spacing_mm: tuple[float, float, float] | None = None, size: int | None = None, organs: LabelSet = FLARE22,
) -> Volume:  # fmt: skip
    """The classes that `paint_case` paints on: those of the volume, some organs removed, and warped."""
    _check_paintable(label_volume.array, label_volume.path)
    rng = np.random.default_rng((*_key(seed), 0))
    source = Grid(shape=label_volume.array.shape, spacing_mm=label_volume.spacing_mm)
    classes = {name: index for index, name in enumerate(organs.names, start=1)}
    kept = remove_organs(np.ascontiguousarray(label_volume.array), classes, recipe.warp, rng)
    _check_paintable(kept, label_volume.path, verb="keeps")
    if recipe.chest is not None:
        kept, source = go_on_above(kept, source, classes, recipe.chest, rng)
    warp = draw_warp(kept, source, spacing_mm or source.spacing_mm, size, recipe.warp, rng)
    labels = warp_labels(kept, warp)
    _check_visible(labels, warp.target, label_volume.path)
    return canonical_volume(labels, warp.target.spacing_mm)


def canonical_volume(array: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    """A volume of its own (no file behind it) from a canonical array (Z,H,W), its middle at the origin."""
    z, h, w = spacing_mm
    affine = np.diag([-w, -h, z, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(array.shape[::-1]) - 1) / 2)
    return Volume.from_source(array.transpose(2, 1, 0), affine)


def _key(seed: int | tuple[int, ...]) -> tuple[int, ...]:
    return (seed,) if isinstance(seed, int) else tuple(seed)


def _check_paintable(labels: np.ndarray, path: Path | None = None, *, verb: str = "holds") -> None:
    if (labelled := int(np.count_nonzero(labels))) < _FEWEST_VOXELS:
        raise InputError(
            f"{verb} {labelled} labelled voxels, too few to place a body around",
            where=path or "label map",
            remedy="Paint on a map with some abdominal organs in it.",
        )


def _check_visible(labels: np.ndarray, grid: Grid, path: Path | None = None) -> None:
    """Raise InputError where the organs on a painting's own grid cannot place a body."""
    _check_paintable(labels, path, verb="keeps")
    if not shows_organs(labels, grid):
        raise InputError(
            "holds organs too small to place a body around",
            where=path or "label map",
            remedy="Paint on a map with some abdominal organs in it.",
        )


def _paint_tissues(
    labels: np.ndarray, grid: Grid, recipe: PhantomRecipe, key: tuple[int, ...], labelset: LabelSet
) -> tuple[np.ndarray, Frame]:
    _check_visible(labels, grid)
    rng = np.random.default_rng((*key, 1))
    organs = organ_tissues(labelset)[labels]
    frame = guess_frame(organs, grid, recipe.body, rng)
    tissue = np.zeros(grid.shape, dtype=np.uint8)
    paint_torso(tissue, frame, rng)
    paint_chest(tissue, frame, rng)
    paint_skeleton(tissue, frame, rng)
    np.copyto(tissue, organs, where=organs > 0)
    paint_vessels(tissue, organs, frame, rng)
    paint_bowel(tissue, frame, recipe.body, rng)
    paint_organs(tissue, organs, grid, recipe.tissue, rng)
    paint_outside(tissue, frame, recipe.body, rng)
    return tissue, frame


def _hu(
    tissue: np.ndarray, grid: Grid, palette: Palette, recipe: PhantomRecipe, rng: np.random.Generator
) -> np.ndarray:
    """float32 HU (Z,H,W): every tissue's mean and texture, and a slow field over soft tissue."""
    texture = smooth_noise(grid, 5.0, rng) * 0.8
    texture += 0.6 * smooth_noise(grid, 14.0, rng)
    texture *= palette.texture_hu[tissue]
    texture += palette.mean_hu[tissue]
    slow = smooth_noise(grid, 90.0, rng) * np.float32(rng.uniform(*recipe.tissue.slow_field_hu))
    slow[(tissue == Tissue.AIR) | (tissue == Tissue.GAS)] = 0
    texture += slow
    return texture


def _reach_mm(labels: np.ndarray, grid: Grid) -> float:
    """How far from the middle of the image anything is labelled."""
    rows, columns = np.nonzero(labels.any(axis=0))
    middle = (np.array(labels.shape[1:]) - 1) / 2
    away = (np.stack([rows, columns], axis=1) - middle) * np.array(grid.spacing_mm[1:])
    return float(np.linalg.norm(away, axis=1).max()) + 2.0
