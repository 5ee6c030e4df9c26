"""The stored values of a file's frames: read where they lie when plain, decoded where they are compressed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom.decoding import decode
from flarekit.volumes.dicom.slices import Pixels

_JUSTIFIED, _FREE_BYTES = 1000, 1 << 25  # compression to 1:1000 is believed, and 32 MiB without any proof
_COPY_AGAIN = "Copy or download it again: it is damaged."


def require_justified(claimed_bytes: int, held_bytes: int, path: Path) -> None:
    """Raises InputError when more pixels are claimed than the bytes could hold under any compression."""
    if claimed_bytes > _JUSTIFIED * held_bytes + _FREE_BYTES:
        raise InputError(
            f"claims {claimed_bytes / 1e6:.0f} MB of pixels, but holds {held_bytes / 1e6:.3f} MB",
            where=path,
            remedy=_COPY_AGAIN,
        )


def read_frame(pixels: Pixels, frame: int) -> np.ndarray:
    """(rows, columns): a frame's stored words, with the bits that do not count. Raises InputError."""
    if frame >= pixels.frames:
        raise InputError(f"has {pixels.frames} frames, but describes more", where=pixels.path, remedy=_COPY_AGAIN)
    if pixels.encapsulated:
        require_justified(pixels.frame_bits // 8, pixels.held_bytes, pixels.path)
        return decode(_compressed(pixels, frame), pixels)
    start, size = pixels.spans[0][0] + frame * pixels.frame_bits // 8, pixels.rows * pixels.columns
    words = np.fromfile(pixels.path, pixels.dtype, size, offset=start)
    if words.size != size:
        raise InputError("was cut short while it was read", where=pixels.path, remedy=_COPY_AGAIN)
    return words.reshape(pixels.rows, pixels.columns)


def _compressed(pixels: Pixels, frame: int) -> bytes:
    """The bytes of one encapsulated frame, put together from its fragments (PS3.5 annex A.4)."""
    (table_at, table_bytes), *fragments = pixels.spans
    with pixels.path.open("rb") as file:
        if pixels.frames > 1 and len(fragments) != pixels.frames:
            file.seek(table_at)
            fragments = _of_frame(file.read(table_bytes), fragments, pixels, frame)
        elif pixels.frames > 1:
            fragments = [fragments[frame]]
        return b"".join(file.read(length) for start, length in fragments if file.seek(start) == start)


def _of_frame(table: bytes, fragments: list[tuple[int, int]], pixels: Pixels, frame: int) -> list[tuple[int, int]]:
    """The fragments of one frame by the basic offset table, whose offsets count from the first fragment's header."""
    if len(table) != 4 * pixels.frames or not fragments:
        raise InputError("does not say where its frames begin", where=pixels.path, remedy=_COPY_AGAIN)
    offsets = [*struct.unpack(f"<{pixels.frames}I", table), 1 << 32]
    first = fragments[0][0]
    return [span for span in fragments if offsets[frame] <= span[0] - first < offsets[frame + 1]]
