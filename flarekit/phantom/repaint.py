"""HU for a few slices of tissues, drawn anew every time: a CT painted once is learnt by heart, one repainted is not.

What `painting` does to a volume, done to slices: the tissues and their shapes stay, everything that a scanner and a
contrast phase decide is drawn again. Ranges are those of the recipe; the lesson is SynthSeg's (Billot et al., 2023).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from flarekit.config.phantom import PhantomRecipe, ScannerRecipe, TissueRecipe
from flarekit.phantom.grid import Grid
from flarekit.phantom.lesions import SHARES, lesion_hu
from flarekit.phantom.noise import smooth_noise
from flarekit.phantom.tissues import Palette, Tissue, draw_palette

_LOWEST_HU, _HIGHEST_HU = -1024, 3071
_EMPTY = (Tissue.AIR, Tissue.GAS)


def repaint(
    tissues: np.ndarray, heights_mm: np.ndarray, spacing_mm: tuple[float, float, float], recipe: PhantomRecipe,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """float32 HU (N,H,W) of slices of one body: one contrast phase, one scanner.

    `tissues`: uint8 Tissue ids (N,3,H,W), each slice between the ones below and above it; `heights_mm` (N,): where the
    slices lie along the body; `spacing_mm` (z, h, w): of the volume they are from.
    """
    palette = draw_palette(recipe.tissue, rng)
    _, pixel_h, pixel_w = spacing_mm
    grid = Grid(shape=(1, *tissues.shape[2:]), spacing_mm=(1.0, pixel_h, pixel_w))
    thickness_mm = max(rng.uniform(*recipe.scanner.thickness_mm), spacing_mm[0])
    hu = _averaged(palette.mean_hu, tissues, thickness_mm / spacing_mm[0])
    hu += _texture(tissues[:, 1], grid, palette, recipe.tissue, rng)
    _add_lesions(hu, tissues[:, 1], heights_mm, grid, palette, recipe.tissue, rng)
    return _scanned(hu, tissues[:, 1] == Tissue.AIR, grid, recipe.scanner, rng)


def _averaged(mean_hu: np.ndarray, tissues: np.ndarray, thickness: float) -> np.ndarray:
    """float32 (N,H,W): mean HU, averaged over a slice that is so many slice distances thick."""
    weights = np.exp(-0.5 * (np.arange(-1, 2) * 12**0.5 / thickness) ** 2)
    weights /= weights.sum()
    return sum(np.float32(w) * mean_hu[tissues[:, n]] for n, w in enumerate(weights))


def _texture(
    tissue: np.ndarray, grid: Grid, palette: Palette, recipe: TissueRecipe, rng: np.random.Generator
) -> np.ndarray:
    """float32 (N,H,W): the tissues' own texture, and a slow field over what is not air."""
    texture = np.concatenate([0.8 * smooth_noise(grid, 5.0, rng) + 0.6 * smooth_noise(grid, 14.0, rng) for _ in tissue])
    texture *= palette.texture_hu[tissue]
    slow = smooth_noise(grid, 90.0, rng) * np.float32(rng.uniform(*recipe.slow_field_hu))
    return texture + np.where(np.isin(tissue, _EMPTY), np.float32(0), slow)


def _add_lesions(
    hu: np.ndarray, tissue: np.ndarray, heights_mm: np.ndarray, grid: Grid, palette: Palette, recipe: TissueRecipe,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Balls inside organs, seen where a slice cuts them. Far fewer per slice than per volume, but never none."""
    _, y, x = grid.axes_mm()
    for organ, share in SHARES.items():
        places = np.argwhere(tissue == organ)
        for _ in range(int(rng.poisson(0.25 * recipe.lesions * share)) if len(places) else 0):
            z, row, column = places[rng.integers(len(places))]
            radius_mm = float(np.clip(rng.lognormal(2.0, 0.6), 2.5, 35))
            shape = rng.uniform(0.75, 1.25, 3) * radius_mm
            away = np.sqrt(
                ((heights_mm - heights_mm[z])[:, None, None] / shape[0]) ** 2
                + ((y - y[0, row, 0]) / shape[1]) ** 2
                + ((x - x[0, 0, column]) / shape[2]) ** 2
            )
            change = lesion_hu(palette.mean_hu[organ], rng) - palette.mean_hu[organ]
            hu[(away < 1) & (tissue == organ)] += np.float32(change)


def _scanned(
    hu: np.ndarray, air: np.ndarray, grid: Grid, recipe: ScannerRecipe, rng: np.random.Generator
) -> np.ndarray:
    """What the scanner shows of the slices (N,H,W), which are changed in place."""
    _, dy, dx = grid.spacing_mm
    blur_mm = rng.uniform(*recipe.blur_mm)
    for axis, pixel_mm in ((1, dy), (2, dx)):
        ndimage.gaussian_filter1d(
            hu, np.hypot(blur_mm, 0.25 * pixel_mm) / pixel_mm, axis=axis, output=hu, mode="nearest", truncate=3
        )
    low, high = np.log(recipe.noise_hu)
    hu += _noise(hu.shape, grid, float(np.exp(rng.uniform(low, high))), rng)
    if rng.random() < recipe.streaks:
        hu += _streaks(hu.shape, grid, recipe, rng)
    np.clip(hu, _LOWEST_HU, _HIGHEST_HU, out=hu)
    if rng.random() < recipe.cut_field:
        _cut(hu, air, grid, recipe, rng)
    return hu


def _noise(shape: tuple[int, ...], grid: Grid, noise_hu: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (N,H,W) with the middle frequencies of filtered back projection, stronger in the middle."""
    _, dy, dx = grid.spacing_mm
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, rng.uniform(0.35, 0.9) / dy, rng.uniform(0.35, 0.9) / dx), truncate=2.5)
    noise -= 0.7 * ndimage.gaussian_filter(noise, (0, 2 / dy, 2 / dx), truncate=2.5)
    profile = noise_hu * (0.75 + 0.4 * np.exp(-((_from_middle(grid) / 110) ** 2)))
    return noise * (profile / max(float(noise.std()), 1e-6)).astype(np.float32)


def _streaks(shape: tuple[int, ...], grid: Grid, recipe: ScannerRecipe, rng: np.random.Generator) -> np.ndarray:
    """float32 (N,H,W): rays from a dense point, strongest near it, or rows as between the arms."""
    amount = np.float32(rng.uniform(*recipe.streak_hu) * rng.uniform(0.2, 1.0))
    if rng.random() < 0.4:
        rows = ndimage.gaussian_filter1d(rng.standard_normal(shape[:2], dtype=np.float32), 0.8, axis=1)
        return amount * rows[:, :, None] * (0.6 + 0.4 * smooth_noise(grid, 80.0, rng))
    _, y, x = grid.axes_mm()
    middle = grid.extent_mm[1:] / 2
    dy, dx = y - np.float32(middle[0] + rng.uniform(-40, 90)), x - np.float32(middle[1] + rng.uniform(-80, 80))
    rays = rng.standard_normal((shape[0], 256), dtype=np.float32)
    rays = ndimage.gaussian_filter1d(rays, 1.0, axis=1, mode="wrap")
    angle = ((np.arctan2(dy, dx) % np.pi) * (256 / np.pi)).astype(int)[0] % 256
    return 3 * amount * rays[:, angle] / (1 + np.hypot(dy, dx) / 60)


def _cut(hu: np.ndarray, air: np.ndarray, grid: Grid, recipe: ScannerRecipe, rng: np.random.Generator) -> None:
    """A field of view that cuts the body a little: padding outside the reconstructed circle."""
    away = _from_middle(grid)[0]
    body = away[~air.all(axis=0)]
    radius_mm = float(body.max(initial=1.0)) * rng.uniform(0.75, 1.0)
    hu[:, away > radius_mm] = recipe.padding_hu[rng.integers(len(recipe.padding_hu))]


def _from_middle(grid: Grid) -> np.ndarray:
    """float32 (1,H,W): mm from the middle of the image."""
    _, y, x = grid.axes_mm()
    return np.hypot(y - np.float32(grid.extent_mm[1] / 2), x - np.float32(grid.extent_mm[2] / 2))
