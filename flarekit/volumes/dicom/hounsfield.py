"""From a CT slice's stored values to HU: each slice with a rescale of its own, what is no measurement as air."""

from __future__ import annotations

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.frames import read_frame
from flarekit.volumes.dicom.slices import Pixels, Slice

AIR_HU = -1024
_TISSUE_HU = (-900.0, 3000.0)  # a padding value that stands for these would punch holes into the patient
_INT16 = np.iinfo(np.int16)


def read_hu(slice_: Slice) -> np.ndarray:
    """(rows, columns) int16: HU, rounded and clipped to what int16 holds.

    Pixels outside the scan, which hold the file's padding value, are air, unless that value stands for tissue: then
    it is taken for a measurement. Raises InputError.
    """
    if not np.isfinite([slice_.slope, slice_.intercept]).all() or slice_.slope == 0:
        raise InputError(
            f"has a rescale that gives no HU: slope {slice_.slope:g}, intercept {slice_.intercept:g}",
            where=slice_.path,
            remedy="Export the series again.",
        )
    pixels = Pixels.of(slice_.header)
    words = read_frame(pixels, slice_.frame)
    stored = _values(words, pixels)
    hu = _rescaled(stored, slice_)
    if padding := _padding(slice_, pixels):
        low, high = padding
        where = stored if pixels.signed else words  # unsigned padding may have bits that do not count
        hu[(where >= low) & (where <= high)] = AIR_HU
    return hu


def _values(words: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The words' bits that count, with their sign."""
    above, unused = pixels.bits_allocated - 1 - pixels.high_bit, pixels.bits_allocated - pixels.bits_stored
    return (words << above) >> unused if unused else words


def _rescaled(stored: np.ndarray, slice_: Slice) -> np.ndarray:
    slope, intercept = slice_.slope, slice_.intercept
    if stored.itemsize <= 2 and slope == 1 and intercept.is_integer() and abs(intercept) <= _INT16.max:
        values = stored.astype(np.int32) + np.int32(intercept)  # three times as fast, and the usual case
    else:
        values = np.rint(stored * np.float64(slope) + intercept)
    return np.clip(values, _INT16.min, _INT16.max, out=values).astype(np.int16)


def _padding(slice_: Slice, pixels: Pixels) -> tuple[int, int] | None:
    """The lowest and highest stored value that is padding; None where there is none, or it may be tissue.

    The two bytes are read with the pixels' own sign: writers confuse the types, and 63536 stands for -2000.
    """
    say = slice_.header.elements
    if tags.PADDING not in say.values or pixels.bits_allocated != 16:
        return None
    bits = (say.short(tags.PADDING), say.short(tags.PADDING_LIMIT, say.short(tags.PADDING)))
    low, high = sorted(np.array(bits, np.uint16).view(np.int16 if pixels.signed else np.uint16).tolist())
    hu = sorted(value * slice_.slope + slice_.intercept for value in (low, high))
    is_tissue = hu[0] < _TISSUE_HU[1] and hu[1] > _TISSUE_HU[0]
    return None if is_tissue else (low, high)
