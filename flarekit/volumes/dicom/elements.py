"""The elements of a DICOM file, read in pure Python so that no length in a damaged file is ever believed.

GDCM reads files of every origin, but may crash or fill the memory on hostile ones: it is only given pixel data whose
description was checked here. Encodings: PS3.5 section 7; the file's beginning: PS3.10 section 7.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from mmap import mmap

from flarekit.volumes.dicom import tags

PREAMBLE = 128  # bytes before the mark
MARK = b"DICM"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")  # JPEG of every kind, and run lengths
_META_GROUP, _ITEMS_GROUP = b"\x02\x00", 0xFFFE
_NO_GROUP = 0  # no element is of group 0, but zeros often lie where damage is
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_DEEPEST = 16  # sequences within sequences; real files have up to about 6
_MOST_ELEMENTS = 1 << 21  # in a file: a second or two; an enhanced image has some hundred for every frame
_MOST_ITEMS = 1 << 16  # in a sequence: eight bytes in the file are a hundred times as many in memory

Span = tuple[int, int]  # where bytes begin in the file, and how many they are


class Malformed(ValueError):
    """The file does not follow DICOM's encoding."""


@dataclass(frozen=True)
class Elements:
    """A data set: of the elements that are read, the bytes; of the sequences, their items."""

    values: dict[int, bytes] = field(default_factory=dict)
    sequences: dict[int, tuple[Elements, ...]] = field(default_factory=dict)
    order: str = "<"  # byte order of binary numbers, as struct writes it

    def text(self, tag: int) -> str:
        """The element as text without padding; empty where it is missing."""
        return self.values.get(tag, b"").decode("utf-8", "replace").strip(" \0\r\n\t")

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Numbers written as text; empty where the element is missing, blank, or holds anything else."""
        try:
            found = tuple(float(part) for part in self.text(tag).split("\\"))
        except ValueError:
            return ()
        return found if all(map(math.isfinite, found)) else ()

    def number(self, tag: int, default: float) -> float:
        """A number written as text: `default` where it is missing or blank, NaN where it is no number."""
        if not self.text(tag):
            return default
        return next(iter(self.numbers(tag)), math.nan)

    def short(self, tag: int, default: int = 0) -> int:
        """The 16 bits of a binary number, taken as unsigned; `default` where it is missing."""
        value = self.values.get(tag, b"")
        return int(struct.unpack(self.order + "H", value[:2])[0]) if len(value) >= 2 else default

    def items(self, tag: int) -> tuple[Elements, ...]:
        """The data sets in a sequence."""
        return self.sequences.get(tag, ())


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a DICOM file holds, as far as it could be read."""

    meta: Elements  # what the file says of itself
    elements: Elements
    pixels: tuple[Span, ...] = ()  # of pixel data: one span, or the fragments where it is encapsulated
    encapsulated: bool = False  # whether pixels are compressed
    damage: str = ""  # why reading ended early


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this says that it is DICOM."""
    return head[PREAMBLE : PREAMBLE + len(MARK)] == MARK


def read_content(data: mmap | bytes, sequences: Set[int] = tags.SEQUENCES) -> Content:
    """The elements of a whole file (see `tags`), and of the sequences those; what follows the pixels is not looked at.

    A damaged file gives what comes before the damage, and says what it is.
    """
    meta, elements = Elements(), Elements()
    try:
        at = _Walk(data, len(data)).meta(meta)
        walk = _Walk.of(data, meta.text(tags.TRANSFER_SYNTAX), sequences)
        elements = Elements(order=walk.order)
        pixels, encapsulated = walk.to_pixels(at, elements)
    except Malformed as error:
        return Content(meta=meta, elements=elements, damage=str(error))
    return Content(meta=meta, elements=elements, pixels=pixels, encapsulated=encapsulated)


class _Walk:
    """Goes from element to element of one file, never beyond its end."""

    def __init__(
        self,
        data: mmap | bytes,
        end: int,
        *,
        big_endian: bool = False,
        explicit: bool = True,
        sequences: Set[int] = tags.SEQUENCES,
        counted: Iterator[int] | None = None,
    ) -> None:
        self.data, self.end, self.explicit, self._sequences = data, end, explicit, sequences
        self._counted = counted or itertools.count(1)  # elements of the file so far
        self.order = ">" if big_endian else "<"
        self._tag, self._short, self._long = (struct.Struct(self.order + form) for form in ("HH", "H", "I"))

    @classmethod
    def of(cls, data: mmap | bytes, syntax: str, sequences: Set[int]) -> _Walk:
        if syntax not in (IMPLICIT, EXPLICIT, BIG_ENDIAN) and not syntax.startswith(_ENCAPSULATED):
            raise Malformed(f"its transfer syntax {syntax[:64] or '(none)'} cannot be read")
        big_endian, explicit = syntax == BIG_ENDIAN, syntax != IMPLICIT
        return cls(data, len(data), big_endian=big_endian, explicit=explicit, sequences=sequences)

    def header(self, at: int) -> tuple[int, bytes, int, int]:
        """Tag, value representation, length, and where the value begins."""
        self._require(at, 8)
        if next(self._counted) > _MOST_ELEMENTS:
            raise Malformed(f"it has more than {_MOST_ELEMENTS} elements")
        group, element = self._tag.unpack_from(self.data, at)
        tag = group << 16 | element
        representation = self.data[at + 4 : at + 6]
        is_typed = self.explicit and group != _ITEMS_GROUP and representation.isalpha() and representation.isupper()
        if not is_typed:
            return tag, b"", self._untyped(tag, at), at + 8
        if representation not in _LONG:
            return tag, representation, self._short.unpack_from(self.data, at + 6)[0], at + 8
        self._require(at, 12)
        return tag, representation, self._long.unpack_from(self.data, at + 8)[0], at + 12

    def _untyped(self, tag: int, at: int) -> int:
        """The length of an implicit element: some writers put these among explicit ones."""
        if tag >> 16 == _NO_GROUP:
            raise Malformed(f"{_name(tag)} at byte {at}, which no file holds")
        return int(self._long.unpack_from(self.data, at + 4)[0])

    def meta(self, into: Elements) -> int:
        """Keep what the file says of itself; where the data set begins comes back."""
        at = PREAMBLE + len(MARK)
        while self.data[at : at + 2] == _META_GROUP:  # what follows may be encoded in another way
            tag, _, length, start = self.header(at)
            at = self._after(tag, start, length)
            if tag in tags.VALUES:
                into.values[tag] = self.data[start:at]
        return at

    def to_pixels(self, at: int, into: Elements) -> tuple[tuple[Span, ...], bool]:
        """Keep the elements up to the pixel data; its spans and whether they are fragments come back."""
        while at < self.end:
            tag, representation, length, start = self.header(at)
            if tag == tags.PIXEL_DATA:
                if length == _UNDEFINED:
                    return self._fragments(start)[0], True
                return ((start, min(length, self.end - start)),), False
            at = self._element(tag, representation, length, start, into, depth=0)
        return (), False

    def _element(self, tag: int, representation: bytes, length: int, start: int, into: Elements, *, depth: int) -> int:
        """Keep an element if it is one to read; where the next begins comes back."""
        if length == _UNDEFINED and (representation in (b"OB", b"OW") or tag == tags.PIXEL_DATA):
            return self._fragments(start)[1]
        if length == _UNDEFINED or tag in self._sequences:
            end = self.end if length == _UNDEFINED else self._after(tag, start, length)
            walk = self._inside(end, implicit=representation == b"UN")
            items, after = walk.sequence(start, open_ended=length == _UNDEFINED, depth=depth + 1)
            if tag in self._sequences:
                into.sequences[tag] = items
            return after
        after = self._after(tag, start, length)
        if tag in tags.VALUES:
            into.values[tag] = self.data[start:after]
        return after

    def sequence(self, at: int, *, open_ended: bool, depth: int) -> tuple[tuple[Elements, ...], int]:
        """The items of a sequence, and where the next element begins."""
        if depth > _DEEPEST:
            raise Malformed(f"has more than {_DEEPEST} sequences within each other")
        items: list[Elements] = []
        while at < self.end:
            tag, _, length, start = self.header(at)
            if tag == _END_OF_SEQUENCE:
                return tuple(items), start
            if tag != _ITEM:
                raise Malformed(f"{_name(tag)} at byte {at} where an item should begin")
            if len(items) == _MOST_ITEMS:
                raise Malformed(f"a sequence has more than {_MOST_ITEMS} items")
            item, at = self._item(start, length, depth)
            items.append(item)
        if open_ended:
            raise Malformed("a sequence has no end")
        return tuple(items), at

    def _item(self, at: int, length: int, depth: int) -> tuple[Elements, int]:
        open_ended = length == _UNDEFINED
        end = self.end if open_ended else self._after(_ITEM, at, length)
        walk = self._inside(end, implicit=False)
        item = Elements(order=self.order)
        while at < end:
            tag, representation, size, start = walk.header(at)
            if tag == _END_OF_ITEM and open_ended:
                return item, start
            at = walk._element(tag, representation, size, start, item, depth=depth)
        if open_ended:
            raise Malformed("an item has no end")
        return item, at

    def _fragments(self, at: int) -> tuple[tuple[Span, ...], int]:
        """The spans of encapsulated pixel data, the offset table first, and where the next element begins."""
        found: list[Span] = []
        while at < self.end:
            tag, _, length, start = self.header(at)
            if tag == _END_OF_SEQUENCE:
                return tuple(found), start
            if tag != _ITEM:
                raise Malformed(f"{_name(tag)} at byte {at} where compressed pixels should go on")
            at = self._after(tag, start, length)
            found.append((start, length))
        return tuple(found), at  # some writers leave the end mark out

    def _inside(self, end: int, *, implicit: bool) -> _Walk:
        """A walk that goes no further than `end`; sequences of unknown type hold implicit elements (PS3.5 6.2.2)."""
        explicit = self.explicit and not implicit
        if end == self.end and explicit == self.explicit:
            return self
        return _Walk(
            self.data,
            end,
            big_endian=self.order == ">",
            explicit=explicit,
            sequences=self._sequences,
            counted=self._counted,
        )

    def _after(self, tag: int, start: int, length: int) -> int:
        if length > self.end - start:
            raise Malformed(f"{_name(tag)} has {length} bytes at byte {start}, where {self.end - start} are left")
        return start + length

    def _require(self, at: int, count: int) -> None:
        if at + count > self.end:
            raise Malformed(f"it ends within an element, at byte {self.end}")


def _name(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
