"""Maps of a number in 0..1 at every voxel, filled slice by slice from probabilities that are never kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from flarekit.reference.uncertainty import entropy
from flarekit.volumes.maps import STEPS, in_steps


class Sink(Protocol):
    """Sees the probabilities of every slice while they are there."""

    def add(self, z: int, probabilities: Tensor) -> None:
        """Slice z's probabilities (C, H, W) float32 in its own pixels, summing to 1; a later call counts."""


class UncertaintyMap:
    """The entropy of the probabilities a mask was decided by; 1, not knowing anything, where none was added."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.steps = np.full(shape, STEPS, dtype=np.uint8)  # (Z, H, W) in steps of 1/255

    def add(self, z: int, probabilities: Tensor) -> None:
        """See `Sink`."""
        self.steps[z] = in_steps(entropy(probabilities).cpu().numpy())


class ProbabilityMaps:
    """The probability of some classes, in a file without a name that is gone when it is closed.

    One byte a voxel and class lies on the disk, and one class at a time in memory. Slices that nobody adds are 0.
    Raises OSError when the disk is full.
    """

    def __init__(self, shape: tuple[int, int, int], classes: Sequence[int], folder: Path) -> None:
        self._shape, self._place = shape, {c: place for place, c in enumerate(classes)}
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` is for whoever made this
        self._file.truncate(len(classes) * self._class_bytes)

    def add(self, z: int, probabilities: Tensor) -> None:
        """See `Sink`."""
        _, height, width = self._shape
        for c, place in self._place.items():
            plane = in_steps(probabilities[c].clamp(0, 1).cpu().numpy())
            os.pwrite(self._file.fileno(), plane.tobytes(), place * self._class_bytes + z * height * width)

    def steps(self, organ_class: int) -> np.ndarray:
        """uint8 (Z, H, W): a class's probabilities in steps of 1/255."""
        self._file.seek(self._place[organ_class] * self._class_bytes)
        return np.fromfile(self._file, dtype=np.uint8, count=self._class_bytes).reshape(self._shape)

    def close(self) -> None:
        """Give the disk its room back."""
        self._file.close()

    @property
    def _class_bytes(self) -> int:
        return int(np.prod(self._shape))
