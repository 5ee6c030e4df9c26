"""HU for a few slices of tissues, drawn anew every time: a CT painted once is learnt by heart, one repainted is not.

What `painting` does to a volume, done to slices: the tissues and their shapes stay, everything that a scanner and a
contrast phase decide is drawn again. Ranges are those of the recipe; the lesson is SynthSeg's (Billot et al., 2023).
Torch alone computes, on the device of the tissues: training needs nothing else, and a GPU can paint for itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from flarekit.config.phantom import PhantomRecipe, ScannerRecipe, TissueRecipe
from flarekit.phantom.lesion_kinds import SHARES, lesion_hu
from flarekit.phantom.planes import (
    PlaneGrid,
    blurred,
    coarse_noise,
    gaussian,
    smooth_planes,
    spread_of,
    upsampled,
    white,
)
from flarekit.phantom.tissues import Palette, Tissue, draw_palette

_LOWEST_HU, _HIGHEST_HU = -1024, 3071
_EMPTY = (Tissue.AIR, Tissue.GAS)


def repaint(
    tissues: Tensor, heights_mm: np.ndarray, spacing_mm: tuple[float, float, float], recipe: PhantomRecipe,
    rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    """float32 HU (N,H,W) of slices of one body: one contrast phase, one scanner; on the device of the tissues.

    `tissues`: uint8 Tissue ids (N,3,H,W), each slice between the ones below and above it; `heights_mm` (N,): where the
    slices lie along the body; `spacing_mm` (z, h, w): of the volume they are from.
    """
    palette = draw_palette(recipe.tissue, rng)
    height, width = tissues.shape[2:]
    grid = PlaneGrid(shape=(height, width), spacing_mm=spacing_mm[1:], device=tissues.device)
    generator = torch.Generator(tissues.device).manual_seed(int(rng.integers(2**63)))
    thickness_mm = max(rng.uniform(*recipe.scanner.thickness_mm), spacing_mm[0])
    ids = tissues.int()
    hu = _averaged(palette.mean_hu, ids, thickness_mm / spacing_mm[0])
    hu += _texture(ids[:, 1], grid, palette, recipe.tissue, rng, generator)
    _add_lesions(hu, tissues[:, 1], heights_mm, grid, palette, recipe.tissue, rng)
    return _scanned(hu, tissues[:, 1] == Tissue.AIR, grid, recipe.scanner, rng, generator)


def _averaged(mean_hu: np.ndarray, ids: Tensor, thickness: float) -> Tensor:
    """float32 (N,H,W): mean HU, averaged over a slice that is so many slice distances thick."""
    above = math.exp(-6 / thickness**2)
    below, middle, over = (_looked_up(mean_hu, ids[:, n]) for n in range(3))
    return (middle + above * (below + over)) / (1 + 2 * above)


def _texture(
    ids: Tensor, grid: PlaneGrid, palette: Palette, recipe: TissueRecipe, rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """float32 (N,H,W): the tissues' own texture, and a slow field over what is not air."""
    fine_shape = grid.coarse_shape(5.0 / 1.5)
    fine = 0.8 * coarse_noise(len(ids), fine_shape, generator)
    fine += 0.6 * upsampled(coarse_noise(len(ids), grid.coarse_shape(14.0 / 1.5), generator), fine_shape)
    texture = upsampled(fine, grid.shape) * _looked_up(palette.texture_hu, ids)
    filled = np.ones(256, dtype=np.float32)
    filled[list(_EMPTY)] = 0
    slow = smooth_planes(1, grid, 90.0, generator) * rng.uniform(*recipe.slow_field_hu)
    return texture.addcmul_(slow, _looked_up(filled, ids))


def _looked_up(table: np.ndarray, ids: Tensor) -> Tensor:
    """float32 like `ids`: what a table (256,) says of each; a sixth of the time that indexing takes."""
    return torch.from_numpy(table).to(ids.device).index_select(0, ids.reshape(-1)).view(ids.shape)


def _add_lesions(
    hu: Tensor, tissue: Tensor, heights_mm: np.ndarray, grid: PlaneGrid, palette: Palette, recipe: TissueRecipe,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Balls inside organs, seen where a slice cuts them. Far fewer per slice than per volume, but never none."""
    y, x = grid.axes_mm()
    heights = torch.as_tensor(heights_mm, dtype=torch.float32, device=grid.device)[:, None, None]
    for organ, share in SHARES.items():
        count = int(rng.poisson(0.25 * recipe.lesions * share))
        places = (tissue == organ).nonzero() if count else tissue.new_empty(0, 3)
        for _ in range(count if len(places) else 0):
            z, row, column = places[rng.integers(len(places))].tolist()
            radius_mm = float(np.clip(rng.lognormal(2.0, 0.6), 2.5, 35))
            along_z, along_y, along_x = (rng.uniform(0.75, 1.25, 3) * radius_mm).tolist()
            away = (
                ((heights - heights[z]) / along_z).square()
                + ((y - y[row]) / along_y).square()
                + ((x - x[:, column]) / along_x).square()
            )
            change = lesion_hu(palette.mean_hu[organ], rng) - palette.mean_hu[organ]
            hu += float(change) * ((away < 1) & (tissue == organ))


def _scanned(
    hu: Tensor, air: Tensor, grid: PlaneGrid, recipe: ScannerRecipe, rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """What the scanner shows of the slices (N,H,W)."""
    blur_mm = rng.uniform(*recipe.blur_mm)
    rows, columns = (gaussian(math.hypot(blur_mm, 0.25 * mm) / mm, truncate=3) for mm in grid.spacing_mm)
    hu = blurred(hu, rows, columns)
    low, high = np.log(recipe.noise_hu)
    hu += _noise(len(hu), grid, float(np.exp(rng.uniform(low, high))), rng, generator)
    if rng.random() < recipe.streaks:
        hu += _streaks(len(hu), grid, recipe, rng, generator)
    hu.clamp_(_LOWEST_HU, _HIGHEST_HU)
    if rng.random() < recipe.cut_field:
        _cut(hu, air, grid, recipe, rng)
    return hu


def _noise(
    count: int, grid: PlaneGrid, noise_hu: float, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """float32 (count,H,W) with the middle frequencies of filtered back projection, stronger in the middle."""
    rows, columns = (gaussian(rng.uniform(0.35, 0.9) / mm, truncate=2.5) for mm in grid.spacing_mm)
    wide_rows, wide_columns = (gaussian(2 / mm, truncate=2.5) for mm in grid.spacing_mm)
    noise = blurred(white(count, grid.shape, generator), rows, columns)
    noise.sub_(blurred(noise, wide_rows, wide_columns), alpha=0.7)
    spread = spread_of(rows, columns, 0.7, (wide_rows, wide_columns))
    profile = 0.75 + 0.4 * torch.exp(-((grid.from_middle_mm() / 110) ** 2))
    return noise.mul_(profile * (noise_hu / spread))


def _streaks(
    count: int, grid: PlaneGrid, recipe: ScannerRecipe, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """float32 (count,H,W): rays from a dense point, strongest near it, or rows as between the arms."""
    amount = rng.uniform(*recipe.streak_hu) * rng.uniform(0.2, 1.0)
    if rng.random() < 0.4:
        rows = blurred(white(count, (grid.shape[0], 1), generator), gaussian(0.8), [1.0])
        return amount * rows * (0.6 + 0.4 * smooth_planes(1, grid, 80.0, generator))
    y, x = grid.axes_mm()
    dy = y - (grid.extent_mm[0] / 2 + rng.uniform(-40, 90))
    dx = x - (grid.extent_mm[1] / 2 + rng.uniform(-80, 80))
    rays = white(count, (1, 256), generator)
    turned = [weight * rays.roll(n - 4, 2) for n, weight in enumerate(gaussian(1.0))]
    rays = torch.stack(turned).sum(0)[:, 0]
    angle = (torch.atan2(dy, dx) % math.pi * (256 / math.pi)).int() % 256
    return 3 * amount * rays[:, angle] / (1 + torch.hypot(dy, dx) / 60)


def _cut(hu: Tensor, air: Tensor, grid: PlaneGrid, recipe: ScannerRecipe, rng: np.random.Generator) -> None:
    """A field of view that cuts the body a little: padding outside the reconstructed circle."""
    away = grid.from_middle_mm()
    body = away[~air.all(dim=0)]
    radius_mm = (float(body.max()) if len(body) else 1.0) * rng.uniform(0.75, 1.0)
    hu.masked_fill_(away > radius_mm, recipe.padding_hu[rng.integers(len(recipe.padding_hu))])
