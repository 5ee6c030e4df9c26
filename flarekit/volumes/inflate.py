"""Deflated files, unpacked piece by piece: neither the file nor what it unpacks to is ever in memory twice."""

from __future__ import annotations

import zlib
from typing import BinaryIO

_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 16  # small enough to stay in the processor's cache on the way to its place
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # their first bytes tell the two apart
_EMPTY_MEMBERS = 100  # bgzip ends with one; a file of nothing else would take for ever


class Inflater:
    """Reads what a gzip file (of one or several members) or a zlib stream holds, from where `file` stands.

    Reading raises zlib.error where a checksum does not fit and EOFError where the stream is cut short.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = b""  # read from the file, not yet unpacked
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._is_empty, self._empty_members = True, 0

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        content = bytearray(count)
        return bytes(content[: self.readinto(memoryview(content))])

    def readinto(self, target: memoryview) -> int:
        """Fill `target` with the next bytes; returns how many there were."""
        filled = 0
        while filled < len(target) and (piece := self._piece(min(_PIECE_BYTES, len(target) - filled))):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def skip(self, count: int) -> None:
        """Pass over the next `count` bytes. Raises EOFError when there are fewer."""
        while count:
            piece = self._piece(min(_PIECE_BYTES, count))
            if not piece:
                raise EOFError("it ends before its voxels begin")
            count -= len(piece)

    def _piece(self, at_most: int) -> bytes:
        """The next bytes, none at the end."""
        while not self._stream.eof or self._next_member():
            self._packed = self._packed or self._file.read(_READ_BYTES)
            at_end = not self._packed
            piece = self._stream.decompress(self._packed, at_most)
            self._packed = self._stream.unconsumed_tail
            if piece:
                self._is_empty = False
                return piece
            if at_end and not self._stream.eof:
                raise EOFError("its compressed data are cut short")
        return b""

    def _next_member(self) -> bool:
        """Begin with the gzip member that follows, if any; zeros after a member are padding."""
        self._packed = self._stream.unused_data.lstrip(b"\0")
        while not self._packed:
            block = self._file.read(_READ_BYTES)
            if not block:
                return False
            self._packed = block.lstrip(b"\0")
        self._empty_members += self._is_empty
        if self._empty_members > _EMPTY_MEMBERS:
            raise ValueError("it is made of gzip members that hold nothing")
        self._stream, self._is_empty = zlib.decompressobj(_GZIP_OR_ZLIB), True
        return True
