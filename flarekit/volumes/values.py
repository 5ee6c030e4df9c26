"""From stored numbers to HU or label ids, slice by slice, so that no wide copy of a volume is ever made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.orientation import Reorientation
from flarekit.volumes.raw import RawVolume

_INT16, _INT32 = np.iinfo(np.int16), np.iinfo(np.int32)


def to_hu(array: np.ndarray, raw: RawVolume, path: Path) -> np.ndarray:
    """int16 HU, contiguous, of stored values (Z, H, W): rounded, and clipped to what int16 holds.

    Where these are int16 in memory that may be written to, `array` is turned in place and used up. Raises InputError
    when values are not finite, not numbers, or the same everywhere.
    """
    require_numbers(array, path)
    _require_finite(array, raw, path)
    if array.dtype == np.int16 and not raw.is_scaled:
        hu = _contiguous(array)
    else:
        hu = np.empty(array.shape, dtype=np.int16)
        for z, stored in enumerate(array):
            hu[z] = _clipped(stored, raw)
    if hu.min() == hu.max():
        raise InputError(
            "holds no image: every voxel has the same value", where=path, remedy="Check how it was exported."
        )
    return hu


def to_ids(array: np.ndarray, raw: RawVolume, path: Path, *, tolerance: float = 0.0) -> np.ndarray:
    """Label ids, contiguous, of stored values (Z, H, W): uint8 where they all fit, else int32.

    Raises InputError when values are further than `tolerance` off whole numbers, or beyond what int32 holds.
    """
    require_numbers(array, path)
    _require_finite(array, raw, path, remedy="Replace them by 0 (background), or export the label map again.")
    if array.dtype.kind in "iu" and not raw.is_scaled:
        _require_int32(array, path)
        return _narrowed(array)
    ids = np.empty(array.shape, dtype=np.int32)
    for z, stored in enumerate(array):
        values = _scaled(stored, raw)
        whole = np.rint(values)
        if (np.abs(values - whole) > tolerance).any():
            raise InputError(
                f"is not a label map: slice {_number_in_file(z, array, raw)} holds values that are not whole numbers",
                where=path,
                remedy="Labels must be integers; resample them by nearest neighbour.",
            )
        _require_int32(whole, path)
        ids[z] = whole
    return _narrowed(ids)


def _contiguous(array: np.ndarray) -> np.ndarray:
    """`array` in C order: turned in place where flips are all it takes and its memory may be written, else a copy."""
    flipped = tuple(axis for axis, step in enumerate(array.strides) if step < 0)
    straight = np.flip(array, flipped)
    if not (straight.flags.c_contiguous and straight.flags.writeable):
        return np.array(array, order="C")
    in_plane = tuple(axis - 1 for axis in flipped if axis > 0)
    if in_plane:
        for plane in straight:
            plane[...] = np.flip(plane, in_plane)  # numpy sees that they overlap, and buffers the plane
    if 0 in flipped:
        for low in range(len(straight) // 2):
            straight[[low, -1 - low]] = straight[[-1 - low, low]]
    return straight


def _clipped(stored: np.ndarray, raw: RawVolume) -> np.ndarray:
    """Whole numbers within int16's ends; integers get there without a detour through float64."""
    if stored.dtype.kind in "iu" and not raw.is_scaled:
        held = np.iinfo(stored.dtype)
        return np.clip(stored, max(held.min, _INT16.min), min(held.max, _INT16.max))
    return np.clip(np.rint(_scaled(stored, raw)), _INT16.min, _INT16.max)


def _number_in_file(z: int, array: np.ndarray, raw: RawVolume) -> int:
    """Slice z of `array` as the file counts, which may be from head to feet."""
    return len(array) - 1 - z if Reorientation.from_affine(raw.affine).flips[0] else z


def _narrowed(ids: np.ndarray) -> np.ndarray:
    """Always a copy: `ids` may be a view of what was read, which stays as it is."""
    fits = ids.min() >= 0 and ids.max() <= 255
    return np.array(ids, dtype=np.uint8 if fits else np.int32, order="C")


def _require_int32(ids: np.ndarray, path: Path) -> None:
    low, high = ids.min(), ids.max()
    if low < _INT32.min or high > _INT32.max:
        raise InputError(
            f"is not a label map: its values run from {low:g} to {high:g}",
            where=path,
            remedy="Label ids lie in 0..65535; check that this is the right file.",
        )


def _scaled(stored: np.ndarray, raw: RawVolume) -> np.ndarray:
    return stored * raw.slope + raw.intercept if raw.is_scaled else stored


def require_numbers(array: np.ndarray, path: Path) -> None:
    """Raises InputError unless there are voxels, and each is one number, be it not finite."""
    if array.size == 0:
        raise InputError(f"is empty: shape {array.shape}", where=path, remedy="Check how it was exported.")
    if array.dtype.kind not in "iuf":
        held = "colours" if array.dtype.names else f"{array.dtype.name} values"
        raise InputError(
            f"holds {held}, a volume holds one number a voxel",
            where=path,
            remedy="Convert it to a volume of integers.",
        )


def _require_finite(
    array: np.ndarray, raw: RawVolume, path: Path, *, remedy: str = "Replace them, for example by -1024 (air)."
) -> None:
    if array.dtype.kind != "f":
        return
    counts = np.array([np.count_nonzero(~np.isfinite(plane)) for plane in array])
    if counts.any():
        first = min(_number_in_file(int(z), array, raw) for z in np.flatnonzero(counts))
        raise InputError(
            f"holds {counts.sum()} voxels that are NaN or infinite, the first in slice {first}",
            where=path,
            remedy=remedy,
        )
