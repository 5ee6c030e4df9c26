"""Which slices of an image the frames of a DICOM-SEG lie on.

That is the slice a frame names as its source, and where it names none, or several, the nearest; neither is farther than
half a step. A segmentation that names other images, or is laid on a file that is not DICOM, has to follow the slices as
closely as those of a CT follow an even grid (see `stacking`): nothing else shows that it belongs there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom.geometry import LPS_TO_RAS, location, normal_of
from flarekit.volumes.dicom.levels import Levels
from flarekit.volumes.dicom.slices import Slice
from flarekit.volumes.dicom.sources import Sources, sources_of
from flarekit.volumes.dicom.stacking import UNEVEN, unevenness_mm, usual_step
from flarekit.volumes.volume import Volume

_HALF = 0.5
_BESIDE = 2 * UNEVEN  # so far may slices lie beside an even grid through the first and the last, which are uneven too
_THICKER = 1.5  # frames of so many steps thickness are of another series
_ITS_OWN = "Give the series that it was drawn on, or convert it to a label map as .nii.gz."

logger = logging.getLogger(__name__)


def levels_on(frames: Sequence[Slice], like: Volume, where: Path) -> Levels:
    """The frames' slices, from the lowest, on the even grid of `like`; rows and columns are not compared with its own.

    Raises InputError where a frame lies on no slice of `like` or on another than it names, and where the frames are of
    slices farther apart or nearer to each other.
    """
    image = _Image.of(frames[0], like)
    sources = _sources(frames, like, image.axis)
    voxels = _moved(np.array([frame.position_mm for frame in frames]), image.to_voxels)
    levels = _levels(voxels[:, image.axis], image.places[:, image.axis], sources)
    off = voxels - image.places[levels]
    name = like.path or "the image"
    problem = (
        _off_slices(frames, off, image, sources)
        or _uneven(frames, levels, off, image, sources)
        or _other_steps(frames[0], levels, off, image, sources)
    )
    if problem:
        raise InputError(f"does not lie on the image's slices ({name}): {problem}", where=where, remedy=_ITS_OWN)
    if (farthest := np.abs(off[:, image.axis]).max()) > UNEVEN:
        logger.warning("%s: lies up to %.2f mm beside the slices of %s.", where, farthest * image.step_mm, name)
    first = off[levels.argmin()].copy()
    first[image.axis] = levels.min()
    return Levels(
        of_frames=levels - levels.min(),
        first_mm=_moved(first[None], image.to_mm)[0],
        step_mm=image.to_mm[:3, image.axis],
    )


@dataclass(frozen=True, kw_only=True)
class _Image:
    """The slices of an image that a frame is parallel to, in voxels along its file's axes."""

    to_mm: np.ndarray  # (4, 4): voxels to mm LPS
    to_voxels: np.ndarray  # (4, 4): mm LPS to voxels
    axis: int  # the slices follow each other along this one
    places: np.ndarray  # (K, 3): the first pixel of each slice, where its own file has it
    step_mm: float  # between neighbouring slices, across them

    @classmethod
    def of(cls, frame: Slice, like: Volume) -> _Image:
        to_mm = LPS_TO_RAS @ like.source.affine
        to_voxels = np.linalg.inv(to_mm)
        in_plane = np.array(frame.orientation).reshape(2, 3).T
        axis = int(np.abs(to_voxels[:3, :3] @ in_plane).sum(axis=1).argmin())
        if like.origin is not None and axis == 2:
            places = _moved(np.array([slice_.position_mm for slice_ in like.origin.slices]), to_voxels)
        else:
            places = np.arange(like.source.shape[axis])[:, None] * np.eye(3)[axis]
        step_mm = abs(float(normal_of(frame) @ to_mm[:3, axis]))
        return cls(to_mm=to_mm, to_voxels=to_voxels, axis=axis, places=places, step_mm=step_mm)


def _sources(frames: Sequence[Slice], like: Volume, axis: int) -> Sources | None:
    """What the frames name of the image's slices, None where these are not the files of a series."""
    if like.origin is None or axis != 2:
        return None
    return sources_of(frames[0].header, len(frames), like.origin)


def _levels(heights: np.ndarray, slices: np.ndarray, sources: Sources | None) -> np.ndarray:
    """(N,) int64: the slice that each frame names, or the nearest, of heights (N,) and (K,) in steps."""
    levels = np.searchsorted((slices[1:] + slices[:-1]) / 2, heights)
    for frame, named in enumerate(sources.of_frames if sources else ()):
        if len(named) == 1:
            (levels[frame],) = named
    return levels


def _belongs(sources: Sources | None) -> bool:
    """Whether a frame names a slice of the image, or nothing at all where it could."""
    return sources is not None and (sources.are_here or not sources.are_named)


def _off_slices(frames: Sequence[Slice], off: np.ndarray, image: _Image, sources: Sources | None) -> str:
    """What is wrong where frames, `off` (N, 3) voxels from their slices, are too far from them; empty otherwise."""
    apart = np.abs(off[:, image.axis])
    wrong = np.flatnonzero(~(apart < (_HALF if _belongs(sources) else _BESIDE)))
    if not wrong.size:
        return ""
    n = int(wrong[0])
    named = sources is not None and len(sources.of_frames[n]) == 1
    place = location(np.array(frames[n].position_mm), normal_of(frames[n]))
    return (
        f"{wrong.size} of its {len(frames)} frames are not where slices are, such as frame {n + 1} at {place}, "
        f"{apart[n] * image.step_mm:.2f} mm from the {'slice that it names' if named else 'nearest'}"
    )


def _uneven(
    frames: Sequence[Slice], levels: np.ndarray, off: np.ndarray, image: _Image, sources: Sources | None
) -> str:
    """What is wrong where frames do not follow their slices as evenly as slices do a grid; empty where they do."""
    way_mm = image.to_mm[:3, image.axis]
    off_mm = off @ image.to_mm[:3, :3].T
    if _belongs(sources):  # from slice to slice, its frames may be as uneven as they are near
        off_mm = off_mm - off[:, image.axis, None] * way_mm
    steps_mm, (slices, some) = [way_mm], np.unique(levels, return_index=True)
    if len(slices) > 1:
        places_mm = np.array([frames[n].position_mm for n in some])
        steps_mm.append(usual_step(places_mm, slices, normal_of(frames[0])))
    if unevenness_mm(off_mm) <= UNEVEN * np.linalg.norm(steps_mm, axis=1).max():
        return ""
    farthest = int(np.linalg.norm(off_mm - off_mm[0], axis=1).argmax())
    return f"its frame {farthest + 1} is shifted against its first"


def _other_steps(frame: Slice, levels: np.ndarray, off: np.ndarray, image: _Image, sources: Sources | None) -> str:
    """What is wrong where frames are on slices, but are themselves of finer or coarser ones; empty where they are not.

    Coarser ones leave slices out everywhere, as does a segmentation of a few slices: that one names them, or states
    their distance, or says at least nothing else.
    """
    lowest, highest = (np.full(len(image.places), fill) for fill in (np.inf, -np.inf))
    np.minimum.at(lowest, levels, off[:, image.axis])
    np.maximum.at(highest, levels, off[:, image.axis])
    if (highest - lowest).max() > UNEVEN:
        return f"its frames are nearer to each other than {image.step_mm:.2f} mm"
    left_out = np.diff(np.unique(levels)) - 1
    if not left_out.size or not left_out.all() or (sources is not None and sources.are_here):
        return ""
    if frame.apart_mm > 0:
        is_coarser = abs(frame.apart_mm - image.step_mm) > UNEVEN * image.step_mm
    else:
        is_coarser = not _belongs(sources) or frame.thickness_mm > _THICKER * image.step_mm
    return f"its frames are farther apart than {image.step_mm:.2f} mm" if is_coarser else ""


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 3) through an affine (4, 4)."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
