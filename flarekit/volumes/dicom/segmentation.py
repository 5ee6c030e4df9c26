"""DICOM-SEG as a label map: the ids are the segment numbers (PS3.3 A.51, C.8.20).

A frame shows one segment on one slice, and slices without any are left out of the file. `placing` tells which slice of
the CT a frame is on; without the CT, `levels` does, and the grid reaches from the lowest frame to the highest. Binary
segmentations and label maps are read; fractional ones where every pixel is none or all of it. Where segments overlap no
label map can say so, and the file is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.frames import read_frame
from flarekit.volumes.dicom.geometry import affine_of, require_alike
from flarekit.volumes.dicom.header import Header
from flarekit.volumes.dicom.levels import levels_of
from flarekit.volumes.dicom.placing import levels_on
from flarekit.volumes.dicom.slices import Pixels, slices_of
from flarekit.volumes.raw import RawVolume
from flarekit.volumes.volume import Volume

_FRACTIONAL, _LABEL_MAP = "FRACTIONAL", "LABELMAP"
_EXPORT_AGAIN = "Export it again, or convert it to a label map as .nii.gz."


def read_segmentation(header: Header, like: Volume | None = None) -> RawVolume:
    """The segment numbers, 0 for none, and affine of a DICOM-SEG, on slices of the image `like`. Raises InputError."""
    if header.content.damage:
        raise InputError(f"cannot be read: {header.content.damage}", where=header.path, remedy=_EXPORT_AGAIN)
    frames, pixels = slices_of(header), Pixels.of(header)
    pixels.require_described(len(frames))
    require_alike(frames, header.path)
    levels = levels_of(frames, header.path) if like is None else levels_on(frames, like, header.path)
    ids = np.zeros((int(levels.of_frames.max()) + 1, pixels.rows, pixels.columns), dtype=np.uint16)
    for frame, level in enumerate(levels.of_frames.tolist()):
        _lay(ids[level], _frame_ids(header, pixels, frame), header.path)
    first = replace(frames[0], position_mm=tuple(levels.first_mm.tolist()))
    return RawVolume(array=ids.transpose(2, 1, 0), affine=affine_of(first, levels.step_mm))


def _frame_ids(header: Header, pixels: Pixels, frame: int) -> np.ndarray:
    """(rows, columns): the segment number where a frame shows its segment, 0 elsewhere. Raises InputError."""
    kind = header.elements.text(tags.SEGMENTATION_TYPE)
    values = _bits(pixels, frame) if pixels.bits_allocated == 1 else read_frame(pixels, frame)
    if kind == _LABEL_MAP:
        return values
    whole = int(header.elements.short(tags.FRACTION_OF_ONE, 1)) if kind == _FRACTIONAL else 1
    if not np.isin(values, (0, whole)).all():
        raise InputError(
            "is a fractional segmentation: it says how much of a pixel belongs to a segment",
            where=header.path,
            remedy="Apply a threshold in the program that made it and export it as a binary segmentation.",
        )
    return np.where(values == whole, np.uint16(_segment(header, frame)), np.uint16(0))


def _segment(header: Header, frame: int) -> int:
    """The number of the segment that a frame shows. Raises InputError."""
    say = header.elements
    groups = [*say.items(tags.FRAME_GROUPS)[frame : frame + 1], *say.items(tags.SHARED_GROUPS)]
    stated = [item.short(tags.REFERENCED_SEGMENT) for group in groups for item in group.items(tags.SEGMENT_OF_FRAME)]
    if not stated or stated[0] == 0:
        raise InputError(f"does not say which segment frame {frame} shows", where=header.path, remedy=_EXPORT_AGAIN)
    return stated[0]


def _bits(pixels: Pixels, frame: int) -> np.ndarray:
    """(rows, columns): a frame of single bits, which follow each other without a gap, lowest bit first."""
    if pixels.encapsulated:
        raise InputError("holds compressed single bits", where=pixels.path, remedy=_EXPORT_AGAIN)
    size = pixels.rows * pixels.columns
    first_byte, first_bit = divmod(frame * size, 8)
    count = -(-(first_bit + size) // 8)
    packed = np.fromfile(pixels.path, np.uint8, count, offset=pixels.spans[0][0] + first_byte)
    bits = np.unpackbits(packed, bitorder="little")[first_bit : first_bit + size]
    return bits.reshape(pixels.rows, pixels.columns)


def _lay(ids: np.ndarray, shown: np.ndarray, where: Path) -> None:
    """Put one frame's segment onto its slice. Raises InputError where another segment is there already."""
    inside = shown > 0
    if (taken := ids[inside & (ids != shown)]).any():
        raise InputError(
            f"has segments that overlap: {int(taken.max())} and {int(shown.max())}, which a label map cannot hold",
            where=where,
            remedy="Export the segments one by one.",
        )
    ids[inside] = shown[inside]
