"""What a configuration's fields must be. Every function raises ValueError that names field and value; None passes.

`table` is what the field's name stands under in the user's file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def one_of(known: Collection[str], config: object, *fields: str, table: str = "") -> None:
    """Each is one of the names that are known."""
    for field, value in _given(config, fields):
        if value not in known:
            raise ValueError(f"{table}{field} is one of {', '.join(known)}, got {value!r}")


def at_least(least: float, config: object, *fields: str, table: str = "") -> None:
    """Each is `least` or more."""
    for field, value in _given(config, fields):
        if not value >= least:
            raise ValueError(f"{table}{field} is at least {least:g}, got {value}")


def positive(config: object, *fields: str, table: str = "") -> None:
    """Each is above 0."""
    for field, value in _given(config, fields):
        if not value > 0:
            raise ValueError(f"{table}{field} is positive, got {value}")


def shares(config: object, *fields: str, table: str = "") -> None:
    """Each lies in 0..1."""
    for field, value in _given(config, fields):
        if not 0 <= value <= 1:
            raise ValueError(f"{table}{field} lies in 0..1, got {value}")


def _given(config: object, fields: Collection[str]) -> list[tuple[str, Any]]:
    return [(field, value) for field in fields if (value := getattr(config, field)) is not None]
