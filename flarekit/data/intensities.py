"""HU as evidence: how much likelier a pixel's HU is in an object than around it.

A network's masks are as fine as its grid, a CT is finer, and each patient's contrast is its own. Histograms of what has
been outlined already know both. (Boykov and Jolly, "Interactive graph cuts for optimal boundary and region segmentation
of objects in N-D images", ICCV 2001, take those of what a user drew as such odds.) The odds are small: they settle
what a network leaves open.
"""

from __future__ import annotations

import numpy as np

from flarekit.config.intensities import IntensityConfig

LOWEST_HU, HIGHEST_HU, BIN_HU = -250, 450, 10  # what lies beyond counts as the first or the last bin
BINS = (HIGHEST_HU - LOWEST_HU) // BIN_HU
TINY = 1e-9  # added to both shares of a bin, so that one that holds nothing says nothing

Histograms = np.ndarray  # (2, BINS) float64: pixels of an object, and of its surroundings


def binned(hu: np.ndarray, spacing_mm: tuple[float, float], config: IntensityConfig) -> np.ndarray:
    """uint8 (H, W): the bin of every pixel of a slice of HU (H, W) with that spacing (h, w)."""
    from scipy.ndimage import gaussian_filter

    within = hu.clip(LOWEST_HU, HIGHEST_HU - 1).astype(np.float32)
    smooth = gaussian_filter(within, [config.noise_mm / spacing for spacing in spacing_mm])
    return ((smooth - LOWEST_HU) / BIN_HU).clip(0, BINS - 1).astype(np.uint8)


def counted(bins: np.ndarray, inside: np.ndarray, around: np.ndarray) -> Histograms:
    """Of the pixels (H, W) inside an object and of those around it, both bool (H, W)."""
    return np.stack([np.bincount(bins[area], minlength=BINS).astype(float) for area in (inside, around)])


def nothing_counted() -> Histograms:
    """Of no pixels."""
    return np.zeros((2, BINS))


def log_odds(seen: Histograms, config: IntensityConfig) -> np.ndarray:
    """float32 (BINS,): 0 in a bin that holds nothing, and in all where object or surroundings were not seen."""
    from scipy.ndimage import gaussian_filter  # takes a while, in which other slices are worked on

    pixels = seen.sum(axis=1, keepdims=True)
    if not pixels.all():
        return np.zeros(BINS, dtype=np.float32)
    smooth = gaussian_filter(seen, (0, config.spread_hu / BIN_HU), mode="nearest")
    common = smooth.sum(axis=0) / pixels.sum()
    own, around = (smooth + config.doubt_px * common) / (pixels + config.doubt_px)
    return np.log((own + TINY) / (around + TINY)).clip(-config.limit, config.limit).astype(np.float32)
