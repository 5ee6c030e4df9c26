"""What compressed frames say of their own size, asked before GDCM makes room for them.

JPEG and JPEG-LS: the frame header (ITU-T T.81 B.2.2, T.87 C.2.2). JPEG 2000: the SIZ segment (ITU-T T.800 A.5.1).
Run lengths: the header of PS3.5 annex G.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

RUN_LENGTHS = "1.2.840.10008.1.2.5"
_START_OF_IMAGE, _MARKER = b"\xff\xd8", 0xFF
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # not tables
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_J2K_START = b"\xff\x4f\xff\x51"
_MOST_TILES = 1024  # JPEG 2000 decoders keep tables for every tile
_DEPTH = 0x7F  # the other bit is the sign
_RLE_HEADER = struct.Struct("<16I")


@dataclass(frozen=True, kw_only=True)
class Stated:
    """The size that a compressed frame states."""

    rows: int
    columns: int
    bits: int  # of a value


def stated_size(frame: bytes) -> Stated | None:
    """What a JPEG, JPEG-LS or JPEG 2000 frame of one value a pixel says; None where it says nothing to believe."""
    try:
        if (start := frame.find(_J2K_START, 0, 256)) >= 0:
            return _jpeg2000(frame[start + len(_J2K_START) :])
        return _jpeg(frame) if frame.startswith(_START_OF_IMAGE) else None
    except (struct.error, IndexError):
        return None


def runs_fit(frame: bytes, segments: int) -> bool:
    """Whether a run-length frame has that many segments, one after the other within it."""
    if len(frame) < _RLE_HEADER.size:
        return False
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    bounds = [*offsets[:segments], len(frame)]
    return count == segments and bounds[0] == _RLE_HEADER.size and bounds == sorted(set(bounds))


def _jpeg2000(segment: bytes) -> Stated | None:
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components, depth, *steps = struct.unpack_from(
        ">8IH3B", segment, 4
    )
    if components != 1 or steps != [1, 1]:  # a component of every second pixel would leave the others unset
        return None
    if not (x0 < x1 and y0 < y1 and tile_x and tile_y and tile_x0 <= x0 and tile_y0 <= y0):
        return None
    tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    if tiles > _MOST_TILES:
        return None
    return Stated(rows=y1 - y0, columns=x1 - x0, bits=(depth & _DEPTH) + 1)


def _jpeg(frame: bytes) -> Stated | None:
    at = len(_START_OF_IMAGE)
    while frame[at] == _MARKER:
        marker = frame[at + 1]
        if marker == _MARKER:  # fill bytes
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAME_HEADERS:
            bits, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
            return Stated(rows=rows, columns=columns, bits=bits) if components == 1 else None
        else:
            at += 2 + int(struct.unpack_from(">H", frame, at + 2)[0])
    return None
