"""Rods and screws along the spine, and their streaks: the errors of rays through metal, back-projected.

Two errors make streaks (De Man et al., IEEE Transactions on Nuclear Science 46, 1999): rays through much metal seem
less attenuated than they are (beam hardening), and hardly a photon of them arrives (noise). Both errors are known
where the metal is, since rods and screws are ellipses whose projections are formulas; filtered back projection of
the errors alone gives what they add to the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from flarekit.config.phantom import MetalRecipe
from flarekit.phantom.frame import Frame
from flarekit.phantom.grid import Grid, upsample

_METAL_HU = 6000.0  # clipped by the scanner's range, and partly averaged away at edges before
_WATER_PER_MM = 0.02  # attenuation of water at 70 keV
_ANGLES = 180
_PIXEL_MM = 1.5  # streaks are reconstructed on pixels no finer than this
_ROWS_AT_ONCE = 16  # image rows that are back-projected together: bounds the memory


@dataclass(frozen=True, kw_only=True)
class Implant:
    """An elliptic section of metal in every slice, lengths in mm."""

    middle_mm: np.ndarray  # float64 (Z, 2): y, x
    along_mm: float  # half its length
    across_mm: float  # half its width
    turn: float  # radians from +x towards +y of the length
    share: np.ndarray  # float64 (Z,): part of each slice's thickness that it fills


def add_metal(hu: np.ndarray, free: np.ndarray, frame: Frame, recipe: MetalRecipe, rng: np.random.Generator) -> None:
    """Put rods and screws into a float32 image (Z,H,W) where `free` (bool) allows, and their streaks everywhere."""
    implants = _implants(frame, recipe, rng)
    touched = np.flatnonzero(np.any([implant.share > 0 for implant in implants], axis=0))
    if len(touched) == 0:
        return
    part = slice(int(touched[0]), int(touched[-1]) + 1)
    coarse = _plane(frame.grid, part.stop - part.start)
    errors = _ray_errors(implants, frame, part, coarse, recipe, rng)
    streaks = _back_project(errors, coarse) * np.float32(1000 / _WATER_PER_MM)
    hu[part] += upsample(streaks, hu[part].shape)
    for implant in implants:
        _place(hu, free, frame.grid, implant)


def _implants(frame: Frame, recipe: MetalRecipe, rng: np.random.Generator) -> list[Implant]:
    """Two rods behind the spine about the kidneys' height, and two screws into each vertebra they pass."""
    z = frame.grid.axes_mm()[0][:, 0, 0].astype(np.float64)
    height, radius = rng.uniform(*recipe.height_mm), rng.uniform(*recipe.rod_radius_mm)
    low = frame.kidneys_mm + rng.uniform(-20, 60) - height / 2
    apart, behind, length = rng.uniform(17, 22), rng.uniform(30, 36), rng.uniform(*recipe.screw_length_mm)
    levels = np.arange(low + 8, low + height, rng.uniform(31, 38))
    implants = []
    for side in (-1, 1):
        rod = frame.spine_mm + (behind, side * apart)
        implants.append(
            Implant(middle_mm=rod, along_mm=radius, across_mm=radius, turn=0.0, share=_share(z, low, low + height))
        )
        turn = np.pi / 2 + side * rng.uniform(0.2, 0.4)  # forwards, and inwards to the vertebral body
        tip = rod - length / 2 * np.array([np.sin(turn), np.cos(turn)])
        for level in levels:
            share = _share(z, level - radius, level + radius)
            implants.append(Implant(middle_mm=tip, along_mm=length / 2, across_mm=radius, turn=turn, share=share))
    return implants


def _share(z_mm: np.ndarray, low_mm: float, high_mm: float) -> np.ndarray:
    """(Z,) the part of each slice, as thick as slices lie apart, that lies between two heights."""
    thickness = z_mm[1] - z_mm[0] if len(z_mm) > 1 else 5.0
    inside = np.minimum(z_mm + thickness / 2, high_mm) - np.maximum(z_mm - thickness / 2, low_mm)
    return np.clip(inside / thickness, 0, 1)


def _plane(grid: Grid, slices: int) -> Grid:
    """The same plane on pixels of _PIXEL_MM or more, and so many slices."""
    plane = Grid(shape=(1, *grid.shape[1:]), spacing_mm=grid.spacing_mm).coarse(_PIXEL_MM)
    return Grid(shape=(slices, *plane.shape[1:]), spacing_mm=plane.spacing_mm)


def _detector(coarse: Grid) -> tuple[np.ndarray, np.ndarray, float]:
    """Angles (A,), positions (S,) in mm from the axis of rotation, and the distance between those."""
    step = max(coarse.spacing_mm[1:])
    count = int(np.ceil(float(np.linalg.norm(coarse.extent_mm[1:])) / step)) + 4
    return np.arange(_ANGLES) * np.pi / _ANGLES, (np.arange(count) - (count - 1) / 2) * step, step


def _ray_errors(
    implants: list[Implant], frame: Frame, part: slice, coarse: Grid, recipe: MetalRecipe, rng: np.random.Generator
) -> np.ndarray:
    """float32 (A, S, Z): what metal adds to the measured attenuation of each ray, wrongly."""
    angles, position, _ = _detector(coarse)
    middle = coarse.extent_mm[1:] / 2
    metal = np.zeros((_ANGLES, len(position), part.stop - part.start), dtype=np.float32)
    for implant in implants:
        _add_path(metal, angles, position, middle, implant, part)
    metal *= np.float32(rng.uniform(*recipe.attenuation_per_mm))
    seen = metal / (1 + np.float32(rng.uniform(*recipe.hardening)) * metal)
    photons = np.exp(rng.uniform(*np.log(recipe.photons)))
    arriving = photons * np.exp(-seen - _body(frame, angles, position, middle))
    noise = rng.standard_normal(metal.shape, dtype=np.float32) / np.sqrt(np.maximum(arriving, 1))
    return np.where(metal > 0, seen - metal + noise, 0).astype(np.float32)


def _add_path(
    metal: np.ndarray, angles: np.ndarray, position: np.ndarray, middle: np.ndarray, implant: Implant, part: slice
) -> None:
    """Add the mm that each ray runs in an implant, times the part of the slice it fills, to (A, S, Z)."""
    share = implant.share[part]
    slices = np.flatnonzero(share > 0)
    y, x = (implant.middle_mm[part][slices] - middle).T
    turned = angles - implant.turn
    wide = (implant.along_mm * np.cos(turned)) ** 2 + (implant.across_mm * np.sin(turned)) ** 2
    centre = np.cos(angles)[:, None] * x + np.sin(angles)[:, None] * y
    inside = wide[:, None, None] - (position[None, :, None] - centre[:, None, :]) ** 2
    path = 2 * implant.along_mm * implant.across_mm * np.sqrt(np.maximum(inside, 0)) / wide[:, None, None]
    metal[:, :, slices] += (path * share[slices]).astype(np.float32)


def _body(frame: Frame, angles: np.ndarray, position: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """float64 (A, S, 1): attenuation by a body of water, an ellipse of the skin's mean width and depth."""
    bins = frame.skin_mm.shape[1]
    radii = frame.skin_mm.mean(axis=0)
    half_x, half_y = (radii[0] + radii[bins // 2]) / 2, (radii[bins // 4] + radii[3 * bins // 4]) / 2
    y, x = frame.axis_mm - middle
    wide = (half_x * np.cos(angles)) ** 2 + (half_y * np.sin(angles)) ** 2
    centre = np.cos(angles) * x + np.sin(angles) * y
    inside = np.maximum(wide[:, None] - (position - centre[:, None]) ** 2, 0)
    return (_WATER_PER_MM * 2 * half_x * half_y * np.sqrt(inside) / wide[:, None])[:, :, None]


def _back_project(sinogram: np.ndarray, coarse: Grid) -> np.ndarray:
    """float32 (Z, h, w) attenuation per mm: filtered back projection of rays (A, S, Z)."""
    angles, position, step = _detector(coarse)
    rays = _ramp(sinogram, step).reshape(-1, sinogram.shape[2])
    _, y, x = coarse.axes_mm()
    middle = coarse.extent_mm[1:] / 2
    image = np.empty(coarse.shape, dtype=np.float32)
    for row in range(0, coarse.shape[1], _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        away = np.cos(angles) * (x[0] - middle[1])[..., None] + np.sin(angles) * (y[0, rows] - middle[0])[..., None]
        weights = _interpolation((away - position[0]).reshape(-1, _ANGLES) / step, len(position))
        planes = (weights @ rays) * np.float32(np.pi / _ANGLES)
        image[:, rows] = planes.T.reshape(coarse.shape[0], -1, coarse.shape[2])
    return image


def _interpolation(at: np.ndarray, detectors: int) -> sparse.csr_matrix:
    """(P, A * detectors): takes each pixel's ray of every angle between two detectors; `at` (P, A) in detectors."""
    low = np.clip(np.floor(at).astype(np.int32), 0, detectors - 2)
    part = (at - low).astype(np.float32)
    column = low + np.arange(at.shape[1], dtype=np.int32) * detectors
    columns = np.stack([column, column + 1], axis=-1).reshape(-1)
    weights = np.stack([1 - part, part], axis=-1).reshape(-1)
    starts = np.arange(at.shape[0] + 1) * (2 * at.shape[1])
    return sparse.csr_matrix((weights, columns, starts), shape=(at.shape[0], at.shape[1] * detectors))


def _ramp(sinogram: np.ndarray, step_mm: float) -> np.ndarray:
    """float32 (A, S, Z): rays filtered by |frequency|, smoothly cut off (Hann), along S."""
    length = 2 * sinogram.shape[1]
    frequency = np.fft.rfftfreq(length, step_mm)
    window = frequency * (0.5 + 0.5 * np.cos(np.pi * frequency / frequency[-1]))
    spectrum = np.fft.rfft(sinogram, length, axis=1) * window[:, None]
    return np.fft.irfft(spectrum, length, axis=1)[:, : sinogram.shape[1]].astype(np.float32)


def _place(hu: np.ndarray, free: np.ndarray, grid: Grid, implant: Implant) -> None:
    """Fill an implant's voxels with metal."""
    _, y, x = grid.axes_mm()
    for z in np.flatnonzero(implant.share > 0):
        dy, dx = y[0] - implant.middle_mm[z, 0], x[0] - implant.middle_mm[z, 1]
        along = np.cos(implant.turn) * dx + np.sin(implant.turn) * dy
        across = np.cos(implant.turn) * dy - np.sin(implant.turn) * dx
        metal = (along / implant.along_mm) ** 2 + (across / implant.across_mm) ** 2 < 1
        metal &= free[z]
        hu[z][metal] += np.float32(implant.share[z]) * (_METAL_HU - hu[z][metal])
