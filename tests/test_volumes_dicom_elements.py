"""The encoding itself, byte by byte, against files that pydicom would not write."""

from __future__ import annotations

import re
import struct

import pytest

from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.elements import read_content

EXPLICIT = b"1.2.840.10008.1.2.1\0"
ITEM, ITEM_END, SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
UNDEFINED = 0xFFFFFFFF


def file(*elements: bytes) -> bytes:
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(EXPLICIT)) + EXPLICIT
    return bytes(128) + b"DICM" + meta + b"".join(elements)


def short(group: int, element: int, representation: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, representation, len(value)) + value


def long(group: int, element: int, representation: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HH2sHI", group, element, representation, 0, size) + value


def item(kind: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, kind, len(value) if length is None else length) + value


MODALITY = short(8, 0x60, b"CS", b"CT")
PIXELS = long(0x7FE0, 0x10, b"OW", b"abcd")


def test_elements_before_the_pixels_are_kept():
    data = file(MODALITY, short(0x28, 0x10, b"US", b"\x05\x01"), PIXELS)
    content = read_content(data)
    assert content.damage == "" and content.elements.text(tags.MODALITY) == "CT"
    assert content.elements.short(tags.ROWS) == 0x0105
    ((start, length),) = content.pixels
    assert data[start : start + length] == b"abcd"


def test_sequences_may_end_by_their_length_or_by_a_mark():
    inside = short(0x28, 0x10, b"US", b"\x07\x00")
    for value, length in (
        (item(ITEM, inside), None),
        (item(ITEM, inside) + item(SEQUENCE_END), UNDEFINED),
        (item(ITEM, inside + item(ITEM_END), UNDEFINED) + item(SEQUENCE_END), UNDEFINED),
    ):
        content = read_content(file(long(0x5200, 0x9230, b"SQ", value, length), MODALITY))
        assert content.damage == "" and content.elements.text(tags.MODALITY) == "CT"
        assert [group.short(tags.ROWS) for group in content.elements.items(tags.FRAME_GROUPS)] == [7]


def test_sequences_of_unknown_type_hold_implicit_elements():
    implicit = struct.pack("<HHI", 0x28, 0x10, 2) + b"\x07\x00"
    unknown = long(0x5200, 0x9230, b"UN", item(ITEM, implicit) + item(SEQUENCE_END), UNDEFINED)
    content = read_content(file(unknown, MODALITY))
    assert content.elements.items(tags.FRAME_GROUPS)[0].short(tags.ROWS) == 7
    assert content.elements.text(tags.MODALITY) == "CT"


def test_implicit_elements_may_lie_among_explicit_ones():
    implicit = struct.pack("<HHI", 0x28, 0x10, 2) + b"\x07\x00"
    groups = long(0x5200, 0x9230, b"SQ", item(ITEM, implicit) + item(SEQUENCE_END), UNDEFINED)
    private = struct.pack("<HHI", 9, 0x1001, 3) + b"abc"
    pixels = struct.pack("<HHI", 0x7FE0, 0x10, 4) + b"abcd"
    data = file(private, MODALITY, groups, pixels)
    content = read_content(data)
    assert content.damage == "" and content.elements.text(tags.MODALITY) == "CT"
    assert content.elements.items(tags.FRAME_GROUPS)[0].short(tags.ROWS) == 7
    assert [data[start : start + length] for start, length in content.pixels] == [b"abcd"]


def test_the_length_of_an_item_is_no_type():
    inside = long(9, 0x1001, b"OB", bytes(0x4143 - 12))
    content = read_content(file(long(0x5200, 0x9230, b"SQ", item(ITEM, inside)), MODALITY))
    assert content.damage == "" and content.elements.text(tags.MODALITY) == "CT"


def test_compressed_pixels_within_a_sequence_are_passed_over():
    icon = long(0x7FE0, 0x10, b"OB", item(ITEM, b"junk") + item(SEQUENCE_END), UNDEFINED)
    icons = long(0x88, 0x200, b"SQ", item(ITEM, icon + item(ITEM_END), UNDEFINED) + item(SEQUENCE_END), UNDEFINED)
    content = read_content(file(icons, PIXELS))
    assert content.damage == "" and not content.encapsulated and len(content.pixels) == 1


def test_fragments_may_lack_their_end_mark():
    fragments = item(ITEM) + item(ITEM, b"ab") + item(ITEM, b"cdef")
    content = read_content(file(long(0x7FE0, 0x10, b"OB", fragments, UNDEFINED)))
    assert content.damage == "" and content.encapsulated
    assert [length for _, length in content.pixels] == [0, 2, 4]


@pytest.mark.parametrize(
    ("elements", "damage"),
    [
        ((MODALITY, b"\x08\x00"), "ends within an element"),
        ((MODALITY, long(8, 0x5, b"UN", b"", 1000)), r"\(0008,0005\) has 1000 bytes .* where 0 are left"),
        ((MODALITY, short(0, 0, b"\0\0", b"")), r"\(0000,0000\) at byte 170, which no file holds"),
        ((MODALITY, short(8, 5, b"lo", b"")), r"\(0008,0005\) has 28524 bytes"),
        ((MODALITY, long(8, 5, b"SQ", item(ITEM, b"", UNDEFINED), UNDEFINED)), "an item has no end"),
        ((MODALITY, long(8, 5, b"SQ", item(ITEM), UNDEFINED)), "a sequence has no end"),
        ((MODALITY, long(8, 5, b"SQ", MODALITY * 2, UNDEFINED)), "where an item should begin"),
        ((MODALITY, long(0x7FE0, 0x10, b"OB", MODALITY, UNDEFINED)), "where compressed pixels should go on"),
        ((MODALITY, long(0x5200, 0x9230, b"SQ", item(ITEM) * 65537)), "more than 65536 items"),
    ],
)
def test_damage_is_named_and_what_came_before_is_kept(elements, damage):
    content = read_content(file(*elements))
    assert content.elements.text(tags.MODALITY) == "CT"
    assert re.search(damage, content.damage)


def test_sequences_within_each_other_have_an_end():
    nested = b""
    for _ in range(40):
        nested = long(8, 5, b"SQ", item(ITEM, nested + item(ITEM_END), UNDEFINED) + item(SEQUENCE_END), UNDEFINED)
    assert "more than 16 sequences" in read_content(file(nested)).damage


def test_elements_of_a_file_have_an_end(monkeypatch):
    monkeypatch.setattr("flarekit.volumes.dicom.elements._MOST_ELEMENTS", 1000)
    empty = short(9, 0x10, b"LO", b"")
    assert read_content(file(empty * 900)).damage == ""
    for elements in (empty * 1100, long(8, 5, b"SQ", item(ITEM, empty * 300) * 4, UNDEFINED)):
        assert "more than 1000 elements" in read_content(file(elements)).damage


def test_numbers_that_are_none_are_told_from_missing_ones():
    content = read_content(file(short(0x28, 0x1052, b"DS", b"x "), short(0x28, 0x1053, b"DS", b"  "), PIXELS))
    assert content.elements.number(tags.INTERCEPT, 0.0) != content.elements.number(tags.INTERCEPT, 0.0)
    assert content.elements.number(tags.SLOPE, 1.0) == 1.0
    assert content.elements.numbers(tags.POSITION) == ()
