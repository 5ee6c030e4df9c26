"""Anatomy drawn from nothing: the 13 organs of FLARE22 in plausible places, sizes and shapes, every one present.

Positions are (z, y, x) in mm from a point in the middle of the spine at the height of the kidneys: z towards
the head, y towards the back, x towards the patient's left. They follow the label maps of common abdominal CTs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flarekit.config.phantom import WarpRecipe
from flarekit.phantom.grid import Grid
from flarekit.phantom.tissues import Tissue
from flarekit.phantom.tubes import smooth_curve_through, stamp
from flarekit.phantom.warp import draw_warp, warp_labels

_DRAWN = Grid(shape=(116, 100, 140), spacing_mm=(2.5, 2.5, 2.5))  # organs are drawn here, then deformed
_ORIGIN_MM = np.array([125.0, 165.0, 172.0])  # of the positions, in the grid above
_DEFORMATION = WarpRecipe(
    scale=(0.88, 1.14),
    rotation_deg=5.0,
    shift_mm=4.0,
    elastic_mm=5.0,
    elastic_scale_mm=42.0,
    crop=0.0,
    extend_below=0.0,
)

Point = tuple[float, float, float]


def synthetic_anatomy(
    seed: int | tuple[int, ...], spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> np.ndarray:
    """uint8 FLARE22 classes (Z,H,W) of a made-up patient, in the middle of a grid of that spacing and shape.

    The same arguments give the same map. Organs that do not fit on the grid are cut off.
    """
    rng = np.random.default_rng((seed,) if isinstance(seed, int) else tuple(seed))
    drawn = np.zeros(_DRAWN.shape, dtype=np.uint8)
    for organ, draw in _ORGANS:
        mask = np.zeros(_DRAWN.shape, dtype=bool)
        draw(mask, rng)
        drawn[mask & (drawn == 0)] = organ
    warp = draw_warp(drawn, _DRAWN, spacing_mm, None, _DEFORMATION, rng)
    return warp_labels(drawn, warp.onto(Grid(shape=shape, spacing_mm=spacing_mm)))


def _tube(mask: np.ndarray, knots: Sequence[Point], radii_mm: Sequence[float], rng: np.random.Generator,
          jitter_mm: float = 3.0) -> None:  # fmt: skip
    points = np.array(knots) + _ORIGIN_MM + rng.normal(0, jitter_mm, (len(knots), 3))
    radii = np.array(radii_mm) * rng.uniform(0.85, 1.15)
    stamp(mask, _DRAWN, smooth_curve_through(points, radii, step_mm=1.5))


def _ellipsoid(mask: np.ndarray, middle: Point, radii_mm: Point, rng: np.random.Generator) -> None:
    z, y, x = _DRAWN.axes_mm()
    centre = np.array(middle) + _ORIGIN_MM + rng.normal(0, 4, 3)
    rz, ry, rx = np.array(radii_mm) * rng.uniform(0.88, 1.12, 3)
    mask |= ((z - centre[0]) / rz) ** 2 + ((y - centre[1]) / ry) ** 2 + ((x - centre[2]) / rx) ** 2 < 1


def _draw_aorta(mask: np.ndarray, rng: np.random.Generator) -> None:
    _tube(
        mask, [(-105, -2, 10), (-40, -4, 12), (30, 0, 12), (90, 12, 14), (150, 24, 20)], [8, 9, 10, 11.5, 12], rng, 1.5
    )


def _draw_cava(mask: np.ndarray, rng: np.random.Generator) -> None:
    _tube(
        mask,
        [(-108, 2, -16), (-40, -4, -20), (30, -14, -22), (70, -22, -22), (100, -34, -18)],
        [9, 10, 11, 12, 13],
        rng,
        1.5,
    )


def _draw_esophagus(mask: np.ndarray, rng: np.random.Generator) -> None:
    _tube(mask, [(60, -30, 22), (78, -14, 14), (110, -2, 6), (150, 2, 4)], [8, 8, 8, 8], rng, 2)


def _draw_kidney(side: int, mask: np.ndarray, rng: np.random.Generator) -> None:
    """A bean: an ellipsoid that leans outwards below, without the sinus that opens to the middle."""
    low, beside = rng.uniform(-8, 8) + (4 if side > 0 else -4), 74 * side
    _tube(
        mask,
        [(low - 34, 26, beside + 8 * side), (low, 34, beside), (low + 34, 38, beside - 10 * side)],
        [23, 28, 22],
        rng,
    )
    sinus = np.zeros_like(mask)
    _ellipsoid(sinus, (low, 26, beside - 22 * side), (22, 11, 20), rng)
    mask &= ~sinus


def _draw_adrenal(side: int, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Two thin limbs that meet in front."""
    x = 44 * side if side > 0 else 36 * side
    for limb in (-1, 1):
        knots = [(48, -4, x), (38, 5, x + 5 * limb), (22, 16, x + 9 * limb)]
        _tube(mask, knots, [4.2, 3.8, 3.4], rng, 0.8)


def _draw_spleen(mask: np.ndarray, rng: np.random.Generator) -> None:
    for height in (32, 46, 60):
        _tube(mask, [(height + 8, 52, 84), (height, 36, 112), (height - 6, -8, 124)], [16, 22, 13], rng)


def _draw_pancreas(mask: np.ndarray, rng: np.random.Generator) -> None:
    knots = [(-26, -38, -26), (-8, -44, -22), (8, -54, 0), (16, -46, 36), (26, -18, 72), (34, 2, 92)]
    _tube(mask, knots, [13, 15, 10, 11, 11, 9], rng, 4)


def _draw_duodenum(mask: np.ndarray, rng: np.random.Generator) -> None:
    knots = [
        (14, -72, -24),
        (12, -56, -46),
        (-20, -34, -52),
        (-50, -24, -42),
        (-58, -24, -6),
        (-40, -26, 26),
        (-18, -42, 40),
    ]
    _tube(mask, knots, [13, 13, 13, 13, 12, 12, 11], rng, 4)


def _draw_stomach(mask: np.ndarray, rng: np.random.Generator) -> None:
    knots = [(96, 10, 62), (72, -6, 70), (44, -50, 72), (20, -90, 50), (10, -92, 10), (14, -76, -18)]
    _tube(mask, knots, [20, 28, 26, 22, 18, 13], rng, 6)


def _draw_gallbladder(mask: np.ndarray, rng: np.random.Generator) -> None:
    _tube(mask, [(24, -56, -58), (6, -72, -70), (-14, -88, -78)], [8, 14, 15], rng, 4)


def _draw_liver(mask: np.ndarray, rng: np.random.Generator) -> None:
    _ellipsoid(mask, (44, -16, -84), (66, 82, 64), rng)
    _ellipsoid(mask, (10, -14, -104), (66, 62, 40), rng)
    _ellipsoid(mask, (66, -52, -30), (40, 50, 70), rng)
    if rng.random() < 0.6:
        _ellipsoid(mask, (66, -80, 34), (26, 26, 46), rng)


_ORGANS: tuple[tuple[Tissue, Callable[[np.ndarray, np.random.Generator], None]], ...] = (
    (Tissue.AORTA, _draw_aorta),
    (Tissue.INFERIOR_VENA_CAVA, _draw_cava),
    (Tissue.ESOPHAGUS, _draw_esophagus),
    (Tissue.RIGHT_ADRENAL_GLAND, lambda mask, rng: _draw_adrenal(-1, mask, rng)),
    (Tissue.LEFT_ADRENAL_GLAND, lambda mask, rng: _draw_adrenal(1, mask, rng)),
    (Tissue.PANCREAS, _draw_pancreas),
    (Tissue.DUODENUM, _draw_duodenum),
    (Tissue.GALLBLADDER, _draw_gallbladder),
    (Tissue.RIGHT_KIDNEY, lambda mask, rng: _draw_kidney(-1, mask, rng)),
    (Tissue.LEFT_KIDNEY, lambda mask, rng: _draw_kidney(1, mask, rng)),
    (Tissue.STOMACH, _draw_stomach),
    (Tissue.SPLEEN, _draw_spleen),
    (Tissue.LIVER, _draw_liver),
)
