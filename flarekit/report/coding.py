"""Slices as text inside a page: grey levels as JPEG, classes as exact runs."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
from PIL import Image

JPEG_QUALITY = 82


def jpeg(levels: np.ndarray) -> str:
    """uint8 grey levels (H, W) as a JPEG, base64."""
    buffer = BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return b64encode(buffer.getvalue()).decode()


def runs(classes: np.ndarray) -> str:
    """uint8 classes (H, W), row after row, as runs of equal ones, base64.

    A run is a little-endian uint32: the class in the highest byte, its length in the other three.
    Raises ValueError for a slice of 2**24 pixels or more.
    """
    flat = classes.ravel()
    if len(flat) >= 1 << 24:
        raise ValueError(f"a run's length has 24 bits, got a slice of {classes.shape}")
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = np.diff(starts, append=len(flat))
    return b64encode((flat[starts].astype("<u4") << 24 | lengths.astype("<u4")).tobytes()).decode()
