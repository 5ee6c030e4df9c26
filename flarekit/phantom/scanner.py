"""From tissues to what a scanner shows: averaging over slice and pixel, noise, streaks, the reconstructed circle."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from flarekit.config.phantom import ScannerRecipe
from flarekit.phantom.frame import Frame
from flarekit.phantom.noise import smooth_noise

_LOWEST_HU, _HIGHEST_HU = -1024, 3071


def scan(hu: np.ndarray, frame: Frame, reach_mm: float, recipe: ScannerRecipe, rng: np.random.Generator) -> np.ndarray:
    """int16 HU of a float32 image (Z,H,W), which is changed in place.

    The field of view never cuts what lies within `reach_mm` of the middle of the image: labelled organs stay visible.
    """
    dz, dy, dx = frame.grid.spacing_mm
    thickness_mm, blur_mm = max(rng.uniform(*recipe.thickness_mm), dz), rng.uniform(*recipe.blur_mm)
    ndimage.gaussian_filter1d(hu, thickness_mm / 12**0.5 / dz, axis=0, output=hu, mode="nearest")
    for axis, pixel_mm in ((1, dy), (2, dx)):
        sigma = np.hypot(blur_mm, 0.25 * pixel_mm) / pixel_mm
        ndimage.gaussian_filter1d(hu, sigma, axis=axis, output=hu, mode="nearest", truncate=3)
    low, high = np.log(recipe.noise_hu)
    noise_hu = np.exp(rng.uniform(low, high))
    _add_noise(hu, frame, float(noise_hu), thickness_mm, rng)
    if rng.random() < recipe.streaks:
        _add_streaks(hu, frame, recipe, rng)
    np.clip(np.rint(hu, out=hu), _LOWEST_HU, _HIGHEST_HU, out=hu)
    image = hu.astype(np.int16)
    _pad(image, frame, reach_mm, recipe, rng)
    return image


def _add_noise(hu: np.ndarray, frame: Frame, noise_hu: float, thickness_mm: float, rng: np.random.Generator) -> None:
    """Noise with the middle frequencies of filtered back projection, stronger inside the body."""
    dz, dy, dx = frame.grid.spacing_mm
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    fine = np.array([0.0, rng.uniform(0.35, 0.9) / dy, rng.uniform(0.35, 0.9) / dx])
    if thickness_mm > 1.5 * dz:
        fine[0] = 0.3 * thickness_mm / dz
    noise = ndimage.gaussian_filter(noise, fine, truncate=2.5)
    noise -= 0.7 * ndimage.gaussian_filter(noise, (0, 2 / dy, 2 / dx), truncate=2.5)
    radius, _ = frame.polar()
    profile = noise_hu * (0.75 + 0.4 * np.exp(-((radius / 110) ** 2)))
    noise *= (profile / max(float(noise.std()), 1e-6)).astype(np.float32)
    hu += noise


def _add_streaks(hu: np.ndarray, frame: Frame, recipe: ScannerRecipe, rng: np.random.Generator) -> None:
    """Rays from a dense point, strongest near it, and rows as between the arms; in some of the slices."""
    amount = np.float32(rng.uniform(*recipe.streak_hu))
    z, y, x = frame.grid.axes_mm()
    where = np.exp(-(((z - rng.uniform(0, max(float(z[-1, 0, 0]), 1))) / rng.uniform(20, 120)) ** 2))
    source_y = frame.axis_mm[0] + rng.uniform(-40, 60)
    source_x = frame.axis_mm[1] + rng.uniform(-80, 80)
    dy, dx = y - np.float32(source_y), x - np.float32(source_x)
    bins = 256
    rays = rng.standard_normal((hu.shape[0], bins), dtype=np.float32)
    rays = ndimage.gaussian_filter(rays, (1.0, 1.0), mode=("nearest", "wrap"))
    angle = ((np.arctan2(dy, dx) % np.pi) * (bins / np.pi)).astype(int)[0] % bins
    fade = 1 / (1 + np.hypot(dy, dx) / 60)
    if rng.random() < 0.6:
        hu += 3 * amount * where * fade * rays[:, angle]
    else:
        rows = ndimage.gaussian_filter1d(rng.standard_normal(hu.shape[:2], dtype=np.float32), 0.8, axis=1)
        hu += amount * where * rows[:, :, None] * (0.6 + 0.4 * smooth_noise(frame.grid, 80.0, rng))


def _pad(image: np.ndarray, frame: Frame, reach_mm: float, recipe: ScannerRecipe, rng: np.random.Generator) -> None:
    """Set what lies outside the reconstructed circle to the padding value; sometimes the circle cuts the body."""
    half_mm = float(frame.grid.extent_mm[1:].max()) / 2
    cut, share = rng.random() < recipe.cut_field, rng.uniform(1.02, 1.25)
    padding = recipe.padding_hu[rng.integers(len(recipe.padding_hu))]
    radius_mm = min(reach_mm * share, half_mm) if cut else half_mm
    _, y, x = frame.grid.axes_mm()
    away = np.hypot(y - frame.grid.extent_mm[1] / 2, x - frame.grid.extent_mm[2] / 2)[0]
    image[:, away > max(radius_mm, reach_mm)] = padding
