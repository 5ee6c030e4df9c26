"""One slice of a CT: a file, or a frame of an enhanced multi-frame file, with its place and how its pixels are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.elements import BIG_ENDIAN, Elements, Span
from flarekit.volumes.dicom.header import Header

_GREY = ("MONOCHROME1", "MONOCHROME2")  # they differ in how they are shown, not in what a value means
_ALLOCATED = (1, 8, 16, 32)  # bits a stored value may take
_EXPORT_AGAIN = "Export the series again from the scanner or the archive."


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How a file keeps the stored values of its frames."""

    path: Path
    syntax: str  # UID of the transfer syntax
    spans: tuple[Span, ...]  # one, or the offset table and the fragments of encapsulated frames
    encapsulated: bool
    frames: int
    rows: int
    columns: int
    bits_allocated: int  # what a value takes
    bits_stored: int  # what of it counts
    high_bit: int  # its uppermost bit that counts, from 0
    signed: bool

    @classmethod
    def of(cls, header: Header) -> Pixels:
        """What `header` says. Raises InputError where that contradicts itself or the size of the file."""
        pixels = cls._stated(header)
        if problem := pixels._problem(header.elements):
            raise InputError(problem, where=header.path, remedy=_EXPORT_AGAIN)
        return pixels

    @classmethod
    def _stated(cls, header: Header) -> Pixels:
        say = header.elements
        allocated = say.short(tags.BITS_ALLOCATED)
        stored = say.short(tags.BITS_STORED, allocated)
        frames = say.number(tags.FRAMES, 1)
        return cls(
            path=header.path,
            syntax=header.syntax,
            spans=header.content.pixels,
            encapsulated=header.content.encapsulated,
            frames=int(frames) if frames == frames else 0,
            rows=say.short(tags.ROWS),
            columns=say.short(tags.COLUMNS),
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=say.short(tags.HIGH_BIT, stored - 1),
            signed=bool(say.short(tags.SIGNED)),
        )

    def require_described(self, frames: int) -> None:
        """Raises InputError unless the file says where so many frames lie, all that it has."""
        if frames != self.frames:
            raise InputError(
                f"says of {frames} of its {self.frames} frames where they lie", where=self.path, remedy=_EXPORT_AGAIN
            )

    @property
    def frame_bits(self) -> int:
        """What one frame takes, uncompressed."""
        return self.rows * self.columns * self.bits_allocated

    @property
    def held_bytes(self) -> int:
        """What the file holds of pixels, compressed or not."""
        return sum(length for _, length in self.spans)

    @property
    def dtype(self) -> np.dtype:
        """The type of a stored value, in the file's byte order."""
        order = ">" if self.syntax == BIG_ENDIAN else "<"
        return np.dtype(f"{order}{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    def _problem(self, say: Elements) -> str:
        if not self.spans:
            return "holds no whole-number pixels"
        if (photometric := say.text(tags.PHOTOMETRIC)) not in _GREY or say.short(tags.SAMPLES, 1) != 1:
            return f"holds {photometric[:16] or 'unknown'} pixels, a CT has one grey value each"
        if self.bits_allocated not in _ALLOCATED:
            return f"says that a pixel takes {self.bits_allocated} bits, not 8, 16 or 32"
        if not 0 < self.bits_stored <= self.high_bit + 1 <= self.bits_allocated:
            return f"says that {self.bits_stored} bits up to bit {self.high_bit} of {self.bits_allocated} count"
        if min(self.rows, self.columns, self.frames) < 1:
            return f"has the shape {self.frames} x {self.rows} x {self.columns}"
        claimed = -(-self.frame_bits * self.frames // 8)
        if not self.encapsulated and claimed > self.held_bytes:
            return f"is cut short: it holds {self.held_bytes} of {claimed} bytes of pixels"
        return ""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice as its file describes it; what it does not say is None, empty or NaN."""

    header: Header
    frame: int  # which of the file's frames, from 0
    position_mm: tuple[float, ...]  # centre of the first pixel in the patient, LPS
    orientation: tuple[float, ...]  # directions along a row and along a column, LPS
    spacing_mm: tuple[float, ...]  # between rows, between columns
    thickness_mm: float  # 0 where it is unknown
    apart_mm: float  # stated distance between neighbouring slices, 0 where it is unknown
    slope: float  # HU are stored * slope + intercept
    intercept: float
    instance: float  # its number in the series

    @property
    def path(self) -> Path:
        """The file it lies in."""
        return self.header.path

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.header.elements.short(tags.ROWS), self.header.elements.short(tags.COLUMNS)


def slices_of(header: Header) -> list[Slice]:
    """The slices in a file: one, or as many as an enhanced multi-frame file has frames."""
    say = header.elements
    groups = say.items(tags.FRAME_GROUPS)
    if not groups:
        return [_slice(header, 0, _Groups((say,)))]
    shared = [*say.items(tags.SHARED_GROUPS)[:1], say]
    return [_slice(header, frame, _Groups((group, *shared))) for frame, group in enumerate(groups)]


@dataclass(frozen=True)
class _Groups:
    """Where a frame's elements may be: in its own groups, in those of all frames, in the data set itself."""

    sets: tuple[Elements, ...]

    def find(self, sequence: int, tag: int) -> Elements:
        """The first data set with that element, in `sequence` or plain; an empty one without any."""
        inside = [item for elements in self.sets for item in elements.items(sequence)[:1]]
        return next((item for item in (*inside, *self.sets) if tag in item.values), Elements())


def _slice(header: Header, frame: int, groups: _Groups) -> Slice:
    def numbers(sequence: int, tag: int) -> tuple[float, ...]:
        return groups.find(sequence, tag).numbers(tag)

    return Slice(
        header=header,
        frame=frame,
        position_mm=numbers(tags.PLANE_POSITION, tags.POSITION),
        orientation=numbers(tags.PLANE_ORIENTATION, tags.ORIENTATION),
        spacing_mm=numbers(tags.PIXEL_MEASURES, tags.PIXEL_SPACING),
        thickness_mm=next(iter(numbers(tags.PIXEL_MEASURES, tags.SLICE_THICKNESS)), 0.0),
        apart_mm=next(iter(numbers(tags.PIXEL_MEASURES, tags.SPACING_BETWEEN_SLICES)), 0.0),
        slope=groups.find(tags.PIXEL_VALUES, tags.SLOPE).number(tags.SLOPE, 1.0),
        intercept=groups.find(tags.PIXEL_VALUES, tags.INTERCEPT).number(tags.INTERCEPT, 0.0),
        instance=header.elements.number(tags.INSTANCE, 0.0),
    )
