"""MetaImage files (.mha, or .mhd with a data file beside it): the header parsed here, the voxels read by its word.

ITK may crash on a broken header, takes memory for whatever sizes it claims, and hands out a volume where the
compressed voxels fail to unpack; hence this strict reader of one scalar volume, raw or deflated. Geometry comes out
as ITK reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from flarekit.volumes.raw import RawVolume
from flarekit.volumes.refusal import refusing, three_axes
from flarekit.volumes.stored import StoredVoxels, read_voxels
from flarekit.volumes.text_header import TextHeader, text_lines

_TYPES = {
    "met_char": "i1", "met_uchar": "u1", "met_short": "i2", "met_ushort": "u2", "met_int": "i4", "met_uint": "u4",
    "met_long": "i4", "met_ulong": "u4", "met_long_long": "i8", "met_ulong_long": "u8",
    "met_float": "f4", "met_double": "f8",
}  # fmt: skip
_SYNONYMS = {
    "position": "Offset", "origin": "Offset", "rotation": "TransformMatrix", "orientation": "TransformMatrix",
    "elementbyteordermsb": "BinaryDataByteOrderMSB",
}  # fmt: skip
_NAMES = (
    "NDims", "DimSize", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "ElementNumberOfChannels",
    "ElementType", "ElementSpacing", "ElementSize", "TransformMatrix", "Offset", "HeaderSize", "ElementDataFile",
)  # fmt: skip
_FIELDS = {name.lower(): name for name in _NAMES} | _SYNONYMS
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_MOST_AXES = 10
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

logger = logging.getLogger(__name__)


def read_metaimage(path: Path) -> RawVolume:
    """The voxels and affine of a .mha or .mhd file. Raises InputError.

    Without direction cosines, axes are taken to run to the left, back and head as ITK does, and a warning says so.
    """
    with refusing("MetaImage", path):
        with path.open("rb") as file:
            header = TextHeader.of(_fields(file))
            start = file.tell()
        sizes = _sizes(header)
        array = read_voxels(_stored(header, path, start, three_axes(sizes, path)))
        affine = _affine(header)
    if "TransformMatrix" not in header.fields:
        logger.warning("%s: says no orientation; check that left and right are not exchanged.", path)
    return RawVolume(array=array, affine=affine, stored_shape=None if len(sizes) == 3 else sizes)


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels of a .mha or .mhd: itself, or one beside it. Raises InputError."""
    with refusing("MetaImage", path), path.open("rb") as file:
        return _voxel_file(TextHeader.of(_fields(file)), path)


def _voxel_file(header: TextHeader, path: Path) -> Path:
    is_local = header.text("ElementDataFile").lower() == "local"
    return path if is_local else header.file_beside("ElementDataFile", path)


def _fields(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """The fields that matter here, up to the one that ends a header: `ElementDataFile`."""
    for line in text_lines(file):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise ValueError(f"its header has a line {line[:60]!r}")
        if name.lower() in _FIELDS:
            yield _FIELDS[name.lower()], value
        if name.lower() == "elementdatafile":
            return
    raise ValueError("it has no field 'ElementDataFile'")


def _sizes(header: TextHeader) -> tuple[int, ...]:
    sizes = header.integers("DimSize")
    if header.integers("NDims") != (len(sizes),) or len(sizes) > _MOST_AXES:
        raise header.refusal("NDims")
    if header.integers("ElementNumberOfChannels", "1") != (1,):
        raise ValueError(f"it has {header.text('ElementNumberOfChannels')[:20]} values a voxel, a volume has one")
    return sizes


def _stored(header: TextHeader, path: Path, start: int, shape: tuple[int, ...]) -> StoredVoxels:
    code = cast(str, header.choice("ElementType", _TYPES))
    order = ">" if header.choice("BinaryDataByteOrderMSB", _FLAGS, "False") else "<"
    if not header.choice("BinaryData", _FLAGS, "True"):
        raise header.refusal("BinaryData")
    if (file := _voxel_file(header, path)) != path:
        path, start = file, 0
    is_deflated = bool(header.choice("CompressedData", _FLAGS, "False"))
    stored = StoredVoxels(path=path, dtype=np.dtype(order + code), shape=shape, offset=start, is_deflated=is_deflated)
    return _behind_header(stored, header)


def _behind_header(stored: StoredVoxels, header: TextHeader) -> StoredVoxels:
    """`stored` behind the data file's own header, if any; -1 means that raw voxels are the file's last bytes."""
    (size, *more) = header.integers("HeaderSize", "0")
    if more or size < (0 if stored.is_deflated else -1) or 0 < size < stored.offset:
        raise header.refusal("HeaderSize")
    if size == -1:
        return stored.at_end()
    return replace(stored, offset=size or stored.offset)


def _affine(header: TextHeader) -> np.ndarray:
    """(4, 4) float64, voxel to RAS+ mm. An axis's direction is a row of the matrix in the header."""
    (dimension,) = header.integers("NDims")
    size = header.numbers("ElementSize", dimension, np.ones(dimension))
    spacing = header.numbers("ElementSpacing", dimension, size)
    if (spacing[:3] <= 0).any():
        raise header.refusal("ElementSpacing" if "ElementSpacing" in header.fields else "ElementSize")
    matrix = header.numbers("TransformMatrix", dimension**2, np.eye(dimension).ravel()).reshape(dimension, dimension)
    lps = np.eye(4)
    lps[:3, :3] = matrix[:3, :3].T * spacing[:3]
    lps[:3, 3] = header.numbers("Offset", dimension, np.zeros(dimension))[:3]
    return _LPS_TO_RAS @ lps
