"""What a volume file says about itself, found in one reading of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.volumes import Volume
from flarekit.volumes.hu import sampled
from flarekit.volumes.raw import RawVolume
from flarekit.volumes.reading import read_stored, read_stored_labels
from flarekit.volumes.values import require_numbers

_LETTERS = ("SI", "PA", "LR")  # of canonical axes z, h, w, along and against them


@dataclass(frozen=True, kw_only=True)
class StoredVolume:
    """A file's numbers, unchecked, and what its reader warned of."""

    volume: Volume  # stored numbers (Z, H, W)
    raw: RawVolume  # how to scale them
    warnings: tuple[str, ...]  # one sentence each


@dataclass(frozen=True, kw_only=True)
class ValueRange:
    """What values a volume holds."""

    low: float  # the lowest finite one
    high: float  # the highest
    broken: int = 0  # voxels that are NaN or infinite

    @property
    def has_numbers(self) -> bool:
        """Whether any voxel is a finite number."""
        return self.low <= self.high


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What is shown of a file, in its own axes."""

    name: str  # of the file, without its folder
    shape: tuple[int, ...]  # as the file says it, axes of length 1 included
    spacing_mm: tuple[float, ...]  # along the file's first three axes
    axes: str  # where they run to: RAS, LPS, ...
    dtype: str  # the type numbers are stored in
    values: ValueRange  # scaled
    digest: str  # of shape and values: the same for the same voxels in any format and type

    @property
    def has_numbers(self) -> bool:
        """Whether any voxel is a finite number."""
        return self.values.has_numbers

    def to_json(self) -> dict[str, object]:
        """A plain dictionary."""
        return {
            "file": self.name,
            "shape": list(self.shape),
            "spacing_mm": [round(mm, 4) for mm in self.spacing_mm],
            "axes": self.axes,
            "dtype": self.dtype,
            "range": [self.values.low, self.values.high] if self.has_numbers else None,
        }


def read_image(path: Path) -> StoredVolume:
    """The numbers of a CT's file, whatever they are. Raises FlarekitError when it cannot be read."""
    with _heard(path) as warnings:
        volume, raw = read_stored(path)
    require_numbers(volume.array, path)
    return StoredVolume(volume=volume, raw=raw, warnings=tuple(warnings))


def read_label(path: Path, image: StoredVolume | None = None) -> StoredVolume:
    """The numbers of a label map's file, a DICOM-SEG's on the grid of its image. Raises FlarekitError."""
    with _heard(path) as warnings:
        volume, raw = read_stored_labels(path, like=None if image is None else image.volume)
    require_numbers(volume.array, path)
    return StoredVolume(volume=volume, raw=raw, warnings=tuple(warnings))


def facts_of(stored: StoredVolume) -> FileFacts:
    """What there is to know about a file's numbers and grid, slice by slice."""
    low, high, broken = np.inf, -np.inf, 0
    digest = hashlib.sha256(repr(stored.volume.array.shape).encode())
    for plane in stored.volume.array:
        values = scaled(plane, stored.raw)
        with np.errstate(over="ignore"):  # values beyond float32 are infinite in the digest alone
            digest.update(np.ascontiguousarray(values, dtype=np.float32).data)
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        broken += values.size - finite.size
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    source = stored.volume.source
    return FileFacts(
        name=stored.volume.path.name if stored.volume.path else "",
        shape=stored.raw.stored_shape or source.shape,
        spacing_mm=tuple(np.linalg.norm(source.affine[:3, :3], axis=0).tolist()),
        axes=axis_codes(stored.volume),
        dtype=str(stored.volume.array.dtype),
        values=ValueRange(low=low, high=high, broken=broken),
        digest=digest.hexdigest(),
    )


def scaled(numbers: np.ndarray, raw: RawVolume) -> np.ndarray:
    """Values of stored numbers: the array itself where the file scales nothing, else float64."""
    return numbers * raw.slope + raw.intercept if raw.is_scaled else numbers


def sample_of(stored: StoredVolume) -> np.ndarray:
    """(z, h, w) about a million of the values, evenly spread; NaN as air."""
    values = scaled(sampled(stored.volume.array), stored.raw)
    return np.nan_to_num(values, nan=-1024.0) if values.dtype.kind == "f" else values


def axis_codes(volume: Volume) -> str:
    """Where the file's axes run to, as nibabel writes it: RAS, LPS, ..."""
    turned = volume.source.reorientation
    letters = [letter[int(flip)] for letter, flip in zip(_LETTERS, turned.flips, strict=True)]
    return "".join(letters[turned.axes.index(axis)] for axis in range(3))


@contextmanager
def _heard(path: Path) -> Iterator[list[str]]:
    """What flarekit's readers log in the block, without the file's name, in place of printing it."""
    heard: list[str] = []
    logger, handler = logging.getLogger("flarekit.volumes"), _Listener(heard, f"{path}: ")
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield heard
    finally:
        logger.propagate = before
        logger.removeHandler(handler)


class _Listener(logging.Handler):
    """Keeps warnings, less what they start with."""

    def __init__(self, heard: list[str], prefix: str) -> None:
        super().__init__(logging.WARNING)
        self.heard, self.prefix = heard, prefix

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.heard.append(record.getMessage().removeprefix(self.prefix))
