"""One way to refuse a file: whatever is wrong inside it becomes one InputError that says what."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from flarekit.errors import InputError

_DAMAGE = (
    ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError, OverflowError, ValueError
)  # fmt: skip


@contextmanager
def refusing(format_name: str, path: Path) -> Iterator[None]:
    """Turns what readers raise on a broken file into InputError."""
    try:
        yield
    except PermissionError as error:
        raise InputError("cannot be opened", where=path, remedy="Check that it may be read.") from error
    except _DAMAGE as error:
        raise InputError(
            f"cannot be read as {format_name} ({_first_line(error)})",
            where=path,
            remedy=f"Copy or download it again: it is damaged, cut short, or not a {format_name} file.",
        ) from error
    except MemoryError as error:
        raise InputError(
            "does not fit into memory", where=path, remedy="Crop it, or use a machine with more memory."
        ) from error


def three_axes(sizes: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Voxels along i, j, k: axes beyond may be of size 1. Raises InputError for a file of other than three."""
    kept = sizes[:3] + tuple(size for size in sizes[3:] if size != 1)
    if len(kept) == 3:
        return kept
    raise InputError(
        f"has {len(kept)} axes {kept}, a volume has 3",
        where=path,
        remedy="Split it into volumes, one for each index of the last axis." if len(kept) > 3 else "Is it a picture?",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
