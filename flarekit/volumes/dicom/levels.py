"""Which slices the frames of a DICOM-SEG lie on, where nothing but the frames tells.

A frame shows one segment on one slice: several lie at one place, and between places there may be slices without any.
Frames may be as uneven as the slices of a CT (see `stacking`): they repeat the slices' positions, rounded or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom.geometry import normal_of
from flarekit.volumes.dicom.slices import Slice
from flarekit.volumes.dicom.stacking import UNEVEN, unevenness_mm, usual_step

_SAME_PLACE_MM = 1e-3
_MOST_EMPTY = 1000  # slices between frames: no file says how many there are
_ROUNDED = 2 * UNEVEN  # neighbours may lie this part of a step nearer or farther than a step
_EXPORT_AGAIN = "Export it again, or convert it to a label map as .nii.gz."


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The slices of frames, on an even grid."""

    of_frames: np.ndarray  # (N,) int64: the slice of each frame, from 0
    first_mm: np.ndarray  # (3,) LPS: the first pixel of slice 0
    step_mm: np.ndarray  # (3,) LPS: from slice to slice


def levels_of(frames: Sequence[Slice], where: Path) -> Levels:
    """The slices from the lowest frame's to the highest's. Raises InputError where frames are not evenly spaced."""
    normal, places_mm = normal_of(frames[0]), np.array([frame.position_mm for frame in frames])
    heights_mm = places_mm @ normal - (places_mm @ normal).min()
    stated_mm, apart_mm = frames[0].apart_mm, np.diff(np.unique(heights_mm))
    smallest_mm = apart_mm[apart_mm > _SAME_PLACE_MM].min(initial=np.inf)
    if np.isinf(smallest_mm):
        thick_mm = abs(stated_mm or frames[0].thickness_mm or 1.0)
        if (np.linalg.norm(places_mm - places_mm[0], axis=1) <= UNEVEN * thick_mm).all():
            return Levels(of_frames=np.zeros(len(frames), int), first_mm=places_mm[0], step_mm=normal * thick_mm)
    else:
        for count in _counts(heights_mm, stated_mm, smallest_mm):
            levels = np.rint(heights_mm * (count / heights_mm.max())).astype(np.int64)
            if found := _line(places_mm, levels, normal, stated_mm):
                return Levels(of_frames=levels, first_mm=found[0], step_mm=found[1])
    raise InputError("has frames that are not evenly spaced", where=where, remedy=_EXPORT_AGAIN)


def _counts(heights_mm: np.ndarray, stated_mm: float, smallest_mm: float) -> Iterator[int]:
    """How many steps the frames may span: by the stated distance, and as suits them best by their smallest."""
    span_mm, most = float(heights_mm.max()), len(heights_mm) + _MOST_EMPTY
    if stated_mm > _SAME_PLACE_MM and 0.5 < span_mm / stated_mm < most:
        yield round(span_mm / stated_mm)
    about = span_mm / smallest_mm
    if about < most:
        distinct = np.unique(heights_mm) / span_mm
        likely = range(max(int(np.ceil(about * (1 - _ROUNDED))), 1), int(about * (1 + _ROUNDED)) + 1)
        yield min(likely, key=lambda count: float(np.abs(distinct * count - np.rint(distinct * count)).max()))


def _line(
    places_mm: np.ndarray, levels: np.ndarray, normal: np.ndarray, stated_mm: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The place (3,) of slice 0 and the step (3,) of the even slices that the frames are on, None where one is off.

    The slices go from the lowest frame to the highest, as those of a whole CT; where these two do not lie as evenly
    as the CT they are of, the stated distance says how they go.
    """
    slices, some = np.unique(levels, return_index=True)
    allowed_mm = UNEVEN * np.linalg.norm(usual_step(places_mm[some], slices, normal))
    lowest, way_mm = places_mm[levels.argmin()], places_mm[levels.argmax()] - places_mm[levels.argmin()]
    step_mm = way_mm / levels.max()
    off_mm = places_mm - lowest - levels[:, None] * step_mm
    if unevenness_mm(off_mm) <= allowed_mm:
        return lowest, step_mm
    step_mm = way_mm * (stated_mm / (way_mm @ normal))
    off_mm = places_mm - lowest - levels[:, None] * step_mm
    middle_mm = (off_mm.min(axis=0) + off_mm.max(axis=0)) / 2
    return (lowest + middle_mm, step_mm) if unevenness_mm(off_mm) <= allowed_mm else None
