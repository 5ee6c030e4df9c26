"""Whether a volume's values are HU, or HU with the offset of 1024 that scanners store them with.

A CT whose RescaleIntercept was lost holds HU + 1024: air near 24, fat near 924, muscle near 1074. The evidence asked
for is all of it at once, because a wrong correction is worse than none: nothing below 0 but a padding value, both
tissues where the offset puts them, most of what is not air between them, and next to nothing in the gap below, where
a true HU volume has the spongy bone that goes with so much dense bone.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from flarekit.errors import UsageError

AUTO: Final = "auto"
HuOffset = int | Literal["auto"]  # what to take off the values; `auto` takes off 1024 where it is plain to see
SCANNER_OFFSET = 1024

_SAMPLE_VOXELS = 1_000_000  # are enough to know the shares of a volume
_ENOUGH_VOXELS = 20_000  # a smaller crop may show anything
_NEGATIVE_SHARE = 1e-3  # interpolation may undershoot
_FAT, _MUSCLE = (874, 974), (1024, 1124)  # stored values of -150..-50 and 0..100 HU
_SOFT, _GAP, _BODY = (874, 1174), (424, 774), (424, 32768)
_FAT_SHARE, _MUSCLE_SHARE = 0.01, 0.03  # of all voxels
_SOFT_SHARE = 0.5  # of the body
_GAP_SHARE = 0.5  # of soft tissue


def parse_offset(text: str) -> HuOffset:
    """What `--hu-offset` says: auto, none or a whole number. Raises UsageError."""
    if text == AUTO:
        return AUTO
    try:
        return 0 if text == "none" else int(text)
    except ValueError as error:
        raise UsageError(
            f"--hu-offset is auto, none or a number of HU, got {text!r}", remedy="Write --hu-offset 1024, say."
        ) from error


def find_offset(values: np.ndarray) -> int:
    """1024 when the values (Z, H, W) are plainly HU + 1024, else 0."""
    sample = sampled(values).ravel()
    low = sample.min()
    sample = sample[sample > low] if low < 0 else sample  # a padding value says nothing
    if values.size < _ENOUGH_VOXELS or not sample.size or _share(sample, (-32768, 0)) > _NEGATIVE_SHARE:
        return 0
    soft, body = _share(sample, _SOFT), _share(sample, _BODY)
    tissues = _share(sample, _FAT) >= _FAT_SHARE and _share(sample, _MUSCLE) >= _MUSCLE_SHARE
    shaped = soft >= _SOFT_SHARE * body and _share(sample, _GAP) <= _GAP_SHARE * soft
    return SCANNER_OFFSET if tissues and shaped else 0


def holds_bytes(values: np.ndarray) -> bool:
    """Whether the values fill 0..255 and nothing else: a picture of a CT, through a window nobody knows."""
    return bool(values.min() == 0 and values.max() == 255)


def take_off(hu: np.ndarray, offset: int) -> None:
    """Subtract `offset` from int16 values in place; what leaves int16 stays at its end."""
    limits = np.iinfo(np.int16)
    for plane in hu:
        plane[...] = np.clip(plane.astype(np.int32) - offset, limits.min, limits.max)


def sampled(values: np.ndarray) -> np.ndarray:
    """A view (z, h, w) of about a million of the values (Z, H, W), evenly spread."""
    step = max(1, round((values.size / _SAMPLE_VOXELS) ** (1 / 3)))
    return values[::step, ::step, ::step]


def _share(sample: np.ndarray, limits: tuple[int, int]) -> float:
    low, high = limits
    return np.count_nonzero((sample >= low) & (sample < high)) / sample.size
