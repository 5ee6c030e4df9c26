"""Folders of cases by the kind that tables call them."""

from __future__ import annotations

from pathlib import Path

from flarekit.errors import UsageError


def named_folders(folders: list[Path], named: list[str], *, wrote: str) -> dict[str, Path]:
    """`folders` by their own names, and those `named` NAME=FOLDER; all written by one command. Raises UsageError."""
    pairs = [(folder.resolve().name, folder) for folder in folders]
    for text in named:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UsageError(f"{text!r} names no kind", remedy="Write --kind NAME=FOLDER.")
        pairs.append((name, Path(folder)))
    if not pairs:
        raise UsageError("no folder to evaluate", remedy=f"Name the folders that {wrote} wrote before the truth.")
    kinds = dict(pairs)
    if len(kinds) < len(pairs):
        raise UsageError("two folders have the same name", remedy="Tell them apart: --kind NAME=FOLDER.")
    return kinds
