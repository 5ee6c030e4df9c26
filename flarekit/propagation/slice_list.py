"""Slice numbers as people write them."""

from __future__ import annotations

from flarekit.errors import UsageError

DIGITS = 6  # of a slice number at most: ranges are written out


def parse_slices(text: str) -> tuple[int, ...]:
    """Ascending slice numbers from "10,20,30", from "10:90:10" (10, 20, ... 80, as Python's range), or both.

    Raises UsageError on anything else, or when no slice is named.
    """
    slices: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        numbers = part.split(":")
        if len(numbers) > 3 or not all(n.isdecimal() and len(n) <= DIGITS for n in numbers):
            raise _not_slices(part)
        values = [int(number) for number in numbers]
        if len(values) == 3 and values[2] == 0:
            raise _not_slices(part)
        slices.update(values if len(values) == 1 else range(*values))
    if not slices:
        raise _not_slices(text)
    return tuple(sorted(slices))


def _not_slices(text: str) -> UsageError:
    return UsageError(f"{text!r} names no slices", remedy="Write 10,20,30 or first:stop:step such as 10:90:10.")
