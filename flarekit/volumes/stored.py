"""Voxels as they lie in a file, raw or deflated: what the header claims is checked against the file's size first.

Only then is memory taken, and once: the bytes are read or unpacked straight into the array that is handed out.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

import numpy as np

from flarekit.volumes.inflate import Inflater

_DEFLATE_LIMIT = 1032  # bytes that one deflated byte can become, at the most
_PADDING_BYTES = 1 << 16  # after the voxels; more means that the header is wrong about them


@dataclass(frozen=True, kw_only=True)
class StoredVoxels:
    """Where a file keeps its voxels, by its header."""

    path: Path  # the file, which may lie beside the one with the header
    dtype: np.dtype  # with its byte order
    shape: tuple[int, ...]  # voxels along the file's axes i, j, k; i runs fastest
    offset: int = 0  # bytes of the file before them, or before the stream that unpacks to them
    is_deflated: bool = False  # as gzip or zlib
    skipped: int = 0  # bytes before them in what the stream unpacks to

    @property
    def size_bytes(self) -> int:
        """What the voxels take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def at_end(self) -> StoredVoxels:
        """The same voxels, raw, as the last bytes of the file. Raises OSError."""
        return replace(self, offset=max(self.offset, os.path.getsize(self.path) - self.size_bytes))


def read_voxels(stored: StoredVoxels) -> np.ndarray:
    """The voxels (I, J, K) in the file's data type, in memory of their own.

    Raises ValueError or EOFError where the file cannot hold or does not hold exactly what `stored` says, zlib.error
    where its checksum does not fit, OSError, and MemoryError.
    """
    require_plausible(stored)
    array = np.empty(stored.shape, dtype=stored.dtype, order="F")
    target = array.reshape(-1, order="F").view(np.uint8).data
    with stored.path.open("rb") as file:
        file.seek(stored.offset)
        filled, surplus = _unpacked(file, stored, target) if stored.is_deflated else _copied(file, target)
    if filled < len(target):
        raise EOFError(f"it is cut short: {filled} of {len(target)} bytes of voxels are there")
    if surplus > _PADDING_BYTES:
        raise ValueError(f"it holds more than the {len(target)} bytes of voxels that its header speaks of")
    return array


def require_plausible(stored: StoredVoxels) -> None:
    """Raises ValueError when the file is too small, whatever it holds, for what `stored` says."""
    if min(stored.shape) < 1:
        raise ValueError(f"its size is {stored.shape}")
    available = os.path.getsize(stored.path) - stored.offset
    at_most = available * _DEFLATE_LIMIT if stored.is_deflated else available
    if stored.offset < 0 or stored.skipped < 0 or stored.skipped + stored.size_bytes > at_most:
        raise ValueError(
            f"its header speaks of {stored.size_bytes} bytes of voxels, {stored.shape} of {stored.dtype}: "
            f"the file has {max(available, 0)} for them"
        )


def _unpacked(file: BufferedReader, stored: StoredVoxels, target: memoryview) -> tuple[int, int]:
    """How much of `target` was filled, and bytes beyond it; reading to the end is what checks the checksum."""
    inflater = Inflater(file)
    inflater.skip(stored.skipped)
    return inflater.readinto(target), len(inflater.read(_PADDING_BYTES + 1))


def _copied(file: BufferedReader, target: memoryview) -> tuple[int, int]:
    return file.readinto(target), len(file.read(_PADDING_BYTES + 1))
