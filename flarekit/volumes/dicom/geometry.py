"""Where the slices of one volume lie: the same grid for all of them, in RAS+ mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom.slices import Slice

_ALIKE = 1e-3  # spacings in mm and direction cosines may differ by so much
_PERPENDICULAR = 1e-2
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_EXPORT_AGAIN = "Export the series again."


def normal_of(slice_: Slice) -> np.ndarray:
    """(3,): the direction across the slice, LPS, of unit length."""
    along, down = np.split(np.array(slice_.orientation), 2)
    normal = np.cross(along, down)
    return np.asarray(normal / np.linalg.norm(normal))


def affine_of(first: Slice, step_mm: np.ndarray) -> np.ndarray:
    """(4, 4) float64: (column, row, slice, 1) to RAS+ mm, with `step_mm` (3,) LPS from slice to slice."""
    along, down = np.split(np.array(first.orientation), 2)
    row_mm, column_mm = first.spacing_mm
    lps = np.eye(4)
    lps[:3] = np.stack([along * column_mm, down * row_mm, step_mm, np.array(first.position_mm)], axis=1)
    return np.asarray(LPS_TO_RAS @ lps)


def location(place_mm: np.ndarray, normal: np.ndarray) -> str:
    """Where a slice lies on the axis that its normal is closest to, in RAS, as text."""
    axis = int(np.abs(normal).argmax())
    return f"{'xyz'[axis]} = {(LPS_TO_RAS[:3, :3] @ place_mm)[axis]:.2f} mm"


def require_alike(slices: Sequence[Slice], where: Path) -> None:
    """Raises InputError where slices differ in size, spacing or direction, or do not say these or their position."""
    _require_said(slices, lambda s: s.position_mm, "position", 3, where)
    for of, what, length in _COMMON:
        _require_said(slices, of, what, length, where)
        _require_one(slices, of, what, where)
    along, down = np.split(np.array(slices[0].orientation), 2)
    if not np.allclose([along @ along, down @ down, along @ down], [1, 1, 0], atol=_PERPENDICULAR):
        raise InputError(
            f"has rows and columns in the directions {_shown(slices[0].orientation)}, which are not perpendicular",
            where=where,
            remedy=_EXPORT_AGAIN,
        )
    if min(slices[0].spacing_mm) <= 0:
        raise InputError(f"has a pixel spacing of {_shown(slices[0].spacing_mm)}", where=where, remedy=_EXPORT_AGAIN)


_COMMON: tuple[tuple[Callable[[Slice], tuple[float, ...]], str, int], ...] = (
    (lambda s: s.shape, "rows and columns", 2),
    (lambda s: s.spacing_mm, "pixel spacing", 2),
    (lambda s: s.orientation, "orientation", 6),
)


def _require_said(
    slices: Sequence[Slice], of: Callable[[Slice], tuple[float, ...]], what: str, length: int, where: Path
) -> None:
    silent = [s for s in slices if len(of(s)) != length]
    if silent:
        raise InputError(
            f"has {len(silent)} slices that do not say their {what}, such as {silent[0].path.name}",
            where=where,
            remedy=_EXPORT_AGAIN,
        )


def _require_one(slices: Sequence[Slice], of: Callable[[Slice], tuple[float, ...]], what: str, where: Path) -> None:
    values = np.array([of(s) for s in slices], dtype=np.float64)
    apart = np.flatnonzero(np.abs(values - values[0]).max(axis=1) > _ALIKE)
    if apart.size:
        other = slices[int(apart[0])]
        raise InputError(
            f"mixes slices of different {what}: {_shown(of(slices[0]))} ({len(slices) - apart.size} slices) and "
            f"{_shown(of(other))} ({apart.size}, such as {other.path.name})",
            where=where,
            remedy="Keep one kind of them, in a folder of its own.",
        )


def _shown(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
