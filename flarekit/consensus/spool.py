"""Slices set aside on the disk and taken back one by one, so that memory does not grow with the number of masks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np

from flarekit.files import output_errors


class Spool:
    """uint8 planes of one shape in a file. Raises OutputError where the disk is full."""

    def __init__(self, file: FileIO, folder: Path, shape: tuple[int, ...]) -> None:
        self._file, self._folder, self._shape = file, folder, shape
        self._size_bytes = int(np.prod(shape))

    def __setitem__(self, index: int, plane: np.ndarray) -> None:
        with output_errors(self._folder):
            self._file.seek(index * self._size_bytes)
            left = np.ascontiguousarray(plane, dtype=np.uint8).data.cast("B")
            while left:
                left = left[self._file.write(left) :]  # less than all where the disk fills up, then an error

    def __getitem__(self, index: int) -> np.ndarray:
        plane = np.empty(self._shape, dtype=np.uint8)
        self._file.seek(index * self._size_bytes)
        self._file.readinto(plane.data.cast("B"))
        return plane


@contextmanager
def spool(folder: Path, shape: tuple[int, ...]) -> Iterator[Spool]:
    """A spool in a file without a name in `folder`, gone when the block or the process ends, however it ends.

    Not among the system's temporary files, which may be kept in memory. Raises OutputError.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        opened = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (closed below)
    with opened as file:
        yield Spool(file, folder, shape)


def replayed(planes: Iterator[np.ndarray], folder: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The planes (uint8, of one shape), all of them set aside before the first comes back. Raises OutputError."""
    with spool(folder, shape) as kept:
        count = 0
        for plane in planes:
            kept[count] = plane
            count += 1
        del planes  # and with it whatever they were made from
        for index in range(count):
            yield kept[index]
