"""NRRD files (http://teem.sourceforge.net/nrrd/format.html): the header parsed here, the voxels read by its word.

ITK trusts what such a header says, sizes above all, and reads other files that it names; hence this strict reader of
one scalar volume, raw or gzip, in the header's file or in one beside it. Geometry comes out as ITK reads it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from flarekit.volumes.raw import RawVolume
from flarekit.volumes.refusal import refusing
from flarekit.volumes.stored import StoredVoxels, read_voxels
from flarekit.volumes.text_header import TextHeader, text_lines

_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPES = {name: code for code, names in _NAMES.items() for name in names.split(", ")}
_ORDERS = {"little": "<", "big": ">"}
_IS_DEFLATED = {"raw": False, "gzip": True, "gz": True}
_TO_RAS = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
}
_TO_RAS |= {"".join(word[0] for word in space.split("-")): signs for space, signs in _TO_RAS.items()}
_LPS = _TO_RAS["lps"]  # what ITK takes every other space for
_SYNONYMS = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}
_SPATIAL_KINDS = {"domain", "space", "none", "???"}
_MOST_AXES = 16
_VECTOR = re.compile(r"none|\([^()]*\)")

logger = logging.getLogger(__name__)


def read_nrrd(path: Path) -> RawVolume:
    """The voxels and affine of a .nrrd file. Raises InputError.

    Without a space that names the patient's axes, LPS is taken as ITK does, and a warning says so.
    """
    with refusing("NRRD", path):
        with path.open("rb") as file:
            header = TextHeader.of(_fields(file))
            start = file.tell()
        sizes = header.integers("sizes")
        directions = _directions(header, len(sizes))
        axes = _volume_axes(header, sizes, directions)
        array = read_voxels(_stored(header, path, start, tuple(sizes[axis] for axis in axes)))
        affine = _affine(header, [vector for axis in axes if (vector := directions[axis]) is not None])
    if "space directions" not in header.fields or _space(header) not in _TO_RAS:
        logger.warning("%s: says no orientation; check that left and right are not exchanged.", path)
    return RawVolume(array=array, affine=affine, stored_shape=None if len(sizes) == 3 else sizes)


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels of a .nrrd: itself, or one beside it. Raises InputError."""
    with refusing("NRRD", path), path.open("rb") as file:
        return _voxel_file(TextHeader.of(_fields(file)), path)


def _voxel_file(header: TextHeader, path: Path) -> Path:
    return header.file_beside("data file", path) if "data file" in header.fields else path


def _fields(file: BinaryIO) -> Iterator[tuple[str, str]]:
    lines = text_lines(file)
    if not re.fullmatch(r"NRRD000[1-5]", next(lines, "")):
        raise ValueError("it does not begin with NRRD000")
    for line in lines:
        if not line:
            return
        name, colon, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):  # a comment, or a key of the user's own
            continue
        if not colon:
            raise ValueError(f"its header has a line {line[:60]!r}")
        yield _SYNONYMS.get(name.lower(), name.lower()), value.strip()


def _directions(header: TextHeader, dimension: int) -> list[np.ndarray | None]:
    """One step along each axis, (3,) or (4,) float64 in mm of the header's space; None for what is no direction."""
    if header.integers("dimension") != (dimension,) or dimension > _MOST_AXES:
        raise header.refusal("dimension")
    if "space directions" not in header.fields:
        if "axis mins" in header.fields:  # an older way to say where a volume lies
            raise header.refusal("axis mins")
        return list(np.diag(header.numbers("spacings", dimension, np.ones(dimension)))[:, :3])
    vectors = _VECTOR.findall(header.text("space directions"))
    if len(vectors) != dimension:
        raise header.refusal("space directions")
    return [None if vector == "none" else _vector(header, "space directions", vector) for vector in vectors]


def _vector(header: TextHeader, name: str, text: str) -> np.ndarray:
    """(3,) float64 of "(1,0,0)"; a fourth number, of a space with time, is left out."""
    words = text.strip().strip("()").replace(",", " ").split()
    return header.finite(name, words, 4 if len(words) == 4 else 3)[:3]


def _volume_axes(header: TextHeader, sizes: tuple[int, ...], directions: list[np.ndarray | None]) -> list[int]:
    """The three axes of the volume: those beyond, and those without a direction, may be of size 1."""
    axes = [axis for axis, size in enumerate(sizes) if size != 1 or (axis < 3 and directions[axis] is not None)]
    if len(axes) != 3:
        raise ValueError(f"it has {len(axes)} axes {tuple(sizes[axis] for axis in axes)}, a volume has 3")
    if any(directions[axis] is None for axis in axes):
        raise header.refusal("space directions")
    kinds = header.fields.get("kinds", "").split() or ["domain"] * len(sizes)
    if len(kinds) != len(sizes) or not {kinds[axis].lower() for axis in axes} <= _SPATIAL_KINDS:
        raise header.refusal("kinds")
    return axes


def _stored(header: TextHeader, path: Path, start: int, shape: tuple[int, ...]) -> StoredVoxels:
    is_deflated = cast(bool, header.choice("encoding", _IS_DEFLATED))
    code = cast(str, header.choice("type", _TYPES))
    order = cast(str, header.choice("endian", _ORDERS)) if code[1] != "1" else "|"
    if header.integers("line skip", "0") != (0,):
        raise header.refusal("line skip")
    if (file := _voxel_file(header, path)) != path:
        path, start = file, 0
    stored = StoredVoxels(path=path, dtype=np.dtype(order + code), shape=shape, offset=start, is_deflated=is_deflated)
    return _behind_skip(stored, header)


def _behind_skip(stored: StoredVoxels, header: TextHeader) -> StoredVoxels:
    """`stored` behind the bytes that the header skips; -1 means that raw voxels are the file's last bytes."""
    (skip, *more) = header.integers("byte skip", "0")
    if more or skip < (0 if stored.is_deflated else -1):
        raise header.refusal("byte skip")
    if stored.is_deflated:
        return replace(stored, skipped=skip)
    return stored.at_end() if skip == -1 else replace(stored, offset=stored.offset + skip)


def _affine(header: TextHeader, directions: list[np.ndarray]) -> np.ndarray:
    """(4, 4) float64, voxel to RAS+ mm."""
    lps = np.eye(4)
    lps[:3, :3] = np.stack(directions, axis=1)
    lps[:3, 3] = _vector(header, "space origin", header.text("space origin", "(0,0,0)"))
    return np.diag([*_TO_RAS.get(_space(header), _LPS), 1.0]) @ lps


def _space(header: TextHeader) -> str:
    return header.fields.get("space", "").lower().removesuffix("-time")
