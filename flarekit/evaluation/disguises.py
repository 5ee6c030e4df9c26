"""One CT as other scanners and programs would have stored it: turned, resampled, cropped, in other numbers.

Every disguise shows the same patient at the same place, so that a mask of it can be held against one of the CT itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import torch
import torch.nn.functional as F
from nibabel.orientations import apply_orientation, inv_ornt_aff

from flarekit.volumes import Volume
from flarekit.volumes.hu import SCANNER_OFFSET

IN_PLANE_MM = (0.6, 1.0, 2.0, 3.0)
BETWEEN_SLICES_MM = (1.0, 2.0, 5.0, 8.0)
WIDE_PX = 768  # rows and columns of a large reconstruction


@dataclass(frozen=True, kw_only=True)
class Disguise:
    """What a file would hold."""

    kind: str  # one of KINDS
    name: str
    array: np.ndarray  # (I, J, K) numbers as stored
    affine: np.ndarray  # (4, 4) voxel (i, j, k, 1) to RAS+ mm
    intercept: float = 0.0  # of the header, which readers add to the numbers


def orientations(ct: Volume) -> Iterator[Disguise]:
    """All 48: the axes in any order, each in either direction; nothing is interpolated."""
    for axes in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            turn = np.array(list(zip(axes, flips, strict=True)))
            signs = ["+" if flip > 0 else "-" for flip in flips]
            yield Disguise(
                kind="orientation",
                name=" ".join(f"{sign}{'zhw'[axis]}" for axis, sign in zip(np.argsort(axes), signs, strict=True)),
                array=apply_orientation(ct.array, turn),
                affine=ct.affine @ inv_ornt_aff(turn, ct.array.shape),
            )


def spacings(ct: Volume) -> Iterator[Disguise]:
    """Finer and coarser pixels, then slices closer and farther, each averaging over what it covers."""
    depth, rows, columns = ct.array.shape
    z_mm, h_mm, w_mm = ct.spacing_mm
    for mm in IN_PLANE_MM:
        size = (depth, max(1, round(rows * h_mm / mm)), max(1, round(columns * w_mm / mm)))
        yield _resampled(ct, size, kind="spacing", name=f"pixels of {mm:g} mm")
    for mm in BETWEEN_SLICES_MM:
        size = (max(1, round(depth * z_mm / mm)), rows, columns)
        yield _resampled(ct, size, kind="spacing", name=f"slices {mm:g} mm apart")


def values(ct: Volume) -> Iterator[Disguise]:
    """The same HU in other types, and as scanners store them: unsigned, with the intercept in the header, or lost."""
    shifted = (np.clip(ct.array, -SCANNER_OFFSET, None).astype(np.int32) + SCANNER_OFFSET).astype(np.uint16)
    stored = (
        ("int16", ct.array, 0.0),
        ("float32", ct.array.astype(np.float32), 0.0),
        ("uint16, intercept -1024", shifted, float(-SCANNER_OFFSET)),
        ("uint16, intercept lost", shifted, 0.0),
    )
    for name, array, intercept in stored:
        yield Disguise(kind="values", name=name, array=array, affine=ct.affine, intercept=intercept)


def fields_of_view(ct: Volume) -> Iterator[Disguise]:
    """Parts of the CT: the middle of its slices, then of its length."""
    whole = (0.0, 1.0)
    yield _cropped(ct, (whole, (0.1, 0.9), (0.1, 0.9)), "middle 80 % of rows and columns")
    yield _cropped(ct, (whole, (0.2, 0.8), (0.2, 0.8)), "middle 60 % of rows and columns")
    yield _cropped(ct, ((0.2, 0.8), whole, whole), "middle 60 % of slices")
    yield _cropped(ct, ((0.0, 0.5), whole, whole), "lower half")
    yield _cropped(ct, ((0.5, 1.0), whole, whole), "upper half")


def sizes(ct: Volume) -> Iterator[Disguise]:
    """Large slices."""
    yield _resampled(ct, (len(ct.array), WIDE_PX, WIDE_PX), kind="size", name=f"{WIDE_PX} x {WIDE_PX} slices")


KINDS: dict[str, Callable[[Volume], Iterator[Disguise]]] = {
    "orientation": orientations,
    "spacing": spacings,
    "values": values,
    "field-of-view": fields_of_view,
    "size": sizes,
}
RESAMPLED = ("spacing", "size")  # kinds whose grid is another one, on which masks look a little different


def _resampled(ct: Volume, size: tuple[int, int, int], *, kind: str, name: str) -> Disguise:
    """The CT in so many voxels (z, h, w) of the same extent, by linear interpolation that averages where coarser."""
    planes = torch.from_numpy(np.ascontiguousarray(ct.array)).float()
    depth, rows, columns = size
    planes = F.interpolate(planes[:, None], (rows, columns), mode="bilinear", align_corners=False, antialias=True)
    upright = planes[:, 0].transpose(0, 1)[:, None]  # (h, 1, Z, w)
    upright = F.interpolate(upright, (depth, columns), mode="bilinear", align_corners=False, antialias=True)
    array = upright[:, 0].transpose(0, 1).round().to(torch.int16).numpy()
    scale = np.array(ct.array.shape) / np.array(size)
    inward = np.eye(4)
    inward[:3, :3], inward[:3, 3] = np.diag(scale), (scale - 1) / 2
    return Disguise(kind=kind, name=name, array=array, affine=ct.affine @ inward)


def _cropped(ct: Volume, parts: tuple[tuple[float, float], ...], name: str) -> Disguise:
    """The part of the CT between these shares of its axes (z, h, w)."""
    bounds = [(round(low * n), round(high * n)) for (low, high), n in zip(parts, ct.array.shape, strict=True)]
    first = np.eye(4)
    first[:3, 3] = [low for low, _ in bounds]
    array = ct.array[tuple(slice(low, high) for low, high in bounds)]
    return Disguise(kind="field-of-view", name=name, array=array, affine=ct.affine @ first)
