"""Slices put in order along the patient, and the grid they lie on: nothing missing, nothing twice, nothing bent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom.geometry import affine_of, location, normal_of, require_alike
from flarekit.volumes.dicom.hounsfield import read_hu
from flarekit.volumes.dicom.slices import Slice

_SAME_PLACE_MM = 1e-3
UNEVEN = 0.1  # slices may lie this part of their spacing away from an even grid: some writers round positions
_TILTED_DEGREES = 0.1
_EXPORT_AGAIN = "Export the series again."

logger = logging.getLogger(__name__)


def stack(slices: Sequence[Slice], where: Path) -> tuple[list[Slice], np.ndarray]:
    """The slices sorted along their normal, and (4, 4) float64: (column, row, slice, 1) to RAS+ mm.

    A copy of a slice is dropped with a warning; a tilted gantry gives a sheared grid and a warning. Raises
    InputError where slices miss, differ at one position, are of different sizes, spacings or directions, or do not
    say where they lie.
    """
    require_alike(slices, where)
    normal = normal_of(slices[0])
    ordered = sorted(slices, key=lambda s: (float(normal @ s.position_mm), s.instance, s.path.name))
    ordered = _without_copies(ordered, normal, where)
    places_mm = np.array([s.position_mm for s in ordered])
    if len(ordered) > 1:
        _require_even(ordered, places_mm, normal, where)
        step_mm = (places_mm[-1] - places_mm[0]) / (len(ordered) - 1)
        _tell_tilt(step_mm, normal, where)
    else:
        step_mm = normal * _thickness_mm(ordered[0], where)
    return ordered, affine_of(ordered[0], step_mm)


def usual_step(places_mm: np.ndarray, levels: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(3,) mm LPS: the median way to the next slice, where the places (N, 3) are those of the slices `levels` (N,)."""
    steps = np.diff(places_mm, axis=0) / np.diff(levels)[:, None]
    return np.asarray(steps[np.argsort(steps @ normal)[(len(steps) - 1) // 2]])


def unevenness_mm(off_mm: np.ndarray) -> float:
    """How far the farthest of places lies from their line, drawn through the middle of them all.

    `off_mm` (N, 3) is how far each lies from a line beside it, such as that through two of them, which are rounded too.
    """
    middle_mm = (off_mm.min(axis=0) + off_mm.max(axis=0)) / 2
    return float(np.linalg.norm(off_mm - middle_mm, axis=1).max())


def _without_copies(ordered: list[Slice], normal: np.ndarray, where: Path) -> list[Slice]:
    """One slice at each position. Raises InputError where two at one position show different things."""
    kept, dropped = [ordered[0]], []
    for slice_ in ordered[1:]:
        if float(normal @ slice_.position_mm - normal @ kept[-1].position_mm) > _SAME_PLACE_MM:
            kept.append(slice_)
        elif np.array_equal(read_hu(slice_), read_hu(kept[-1])):
            dropped.append(slice_.path.name)
        else:
            raise _two_at(location(np.array(slice_.position_mm), normal), kept[-1], slice_, where)
    if dropped:
        logger.warning("%s: left out %d copies of slices, such as %s.", where, len(dropped), dropped[0])
    return kept


def _two_at(place: str, first: Slice, second: Slice, where: Path) -> InputError:
    return InputError(
        f"holds two different slices at {place}: {first.path.name} and {second.path.name}",
        where=where,
        remedy="Keep one phase or reconstruction of them, in a folder of its own.",
    )


def _require_even(ordered: Sequence[Slice], places_mm: np.ndarray, normal: np.ndarray, where: Path) -> None:
    """Raises InputError where a slice is missing, or slices lie off an even grid in another way."""
    steps = np.diff(places_mm, axis=0)
    lengths = steps @ normal
    usual = usual_step(places_mm, np.arange(len(places_mm)), normal)
    usual_mm = float(np.linalg.norm(usual))
    even_mm = np.linspace(places_mm[0], places_mm[-1], len(places_mm))
    if unevenness_mm(places_mm - even_mm) <= UNEVEN * usual_mm:
        return
    wholes = np.rint(lengths / (usual @ normal))
    fits = np.linalg.norm(steps - wholes[:, None] * usual, axis=1) <= UNEVEN * usual_mm
    if fits.all() and wholes.max() > 1:
        raise _missing(ordered, wholes.astype(int), usual, normal, where)
    k = int(np.linalg.norm(steps - usual, axis=1).argmax())
    raise InputError(
        f"has slices that are not evenly spaced: {np.linalg.norm(steps[k]):.2f} mm between {ordered[k].path.name} "
        f"and {ordered[k + 1].path.name}, {usual_mm:.2f} mm elsewhere",
        where=where,
        remedy="Resample it to even spacing, or export the series again.",
    )


def _missing(
    ordered: Sequence[Slice], wholes: np.ndarray, usual_mm: np.ndarray, normal: np.ndarray, where: Path
) -> InputError:
    gaps = np.flatnonzero(wholes > 1)
    k = int(gaps[0])
    first_mm = np.array(ordered[k].position_mm) + usual_mm
    more = f", and at {len(gaps) - 1} other places" if len(gaps) > 1 else ""
    return InputError(
        f"misses {int((wholes - 1).sum())} slices: the first at {location(first_mm, normal)}, between "
        f"{ordered[k].path.name} and {ordered[k + 1].path.name}{more}",
        where=where,
        remedy=_EXPORT_AGAIN,
    )


def _tell_tilt(step_mm: np.ndarray, normal: np.ndarray, where: Path) -> None:
    degrees = float(np.degrees(np.arccos(np.clip(step_mm @ normal / np.linalg.norm(step_mm), -1, 1))))
    if degrees > _TILTED_DEGREES:
        logger.warning(
            "%s: was scanned with the gantry tilted by %.1f degrees: its slices stay as they are, on a sheared grid.",
            where,
            degrees,
        )


def _thickness_mm(slice_: Slice, where: Path) -> float:
    """For the spacing of a single slice, which has no neighbour to tell it."""
    if slice_.thickness_mm > 0:
        return slice_.thickness_mm
    logger.warning("%s: is a single slice that does not say its thickness; 1 mm is taken.", where)
    return 1.0
