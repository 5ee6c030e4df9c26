"""Compressed frames decoded by GDCM, through SimpleITK.

GDCM is given a file that holds nothing but the frame and its checked description, so that nothing else of the
original can lead it astray, and so that it gives back stored values: it would apply a rescale it finds.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from flarekit.errors import InputError
from flarekit.volumes.dicom.codestream import RUN_LENGTHS, runs_fit, stated_size
from flarekit.volumes.dicom.elements import MARK, PREAMBLE
from flarekit.volumes.dicom.slices import Pixels
from flarekit.volumes.itk import silence

_CT, _INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "2.25.1"
_LONG = ("OB", "UN")
_COPY_AGAIN = "Copy or download it again, or convert the series with a DICOM tool."


def decode(frame: bytes, pixels: Pixels) -> np.ndarray:
    """(rows, columns): the stored values of one encapsulated frame. Raises InputError where it is damaged."""
    if problem := _problem(frame, pixels):
        raise InputError(problem, where=pixels.path, remedy=_COPY_AGAIN)
    silence()
    with tempfile.NamedTemporaryFile(prefix="flarekit-frame-", suffix=".dcm") as file:
        file.write(_minimal_file(frame, pixels))
        file.flush()
        array = _read(Path(file.name), pixels)
    if array.shape != (pixels.rows, pixels.columns):
        raise InputError(f"decodes to the shape {array.shape}", where=pixels.path, remedy=_COPY_AGAIN)
    return array.astype(pixels.dtype, casting="unsafe", copy=False)


def _problem(frame: bytes, pixels: Pixels) -> str:
    if pixels.syntax == RUN_LENGTHS:
        return "" if runs_fit(frame, pixels.bits_allocated // 8) else "has run lengths that lead out of the file"
    stated = stated_size(frame)
    if stated is None or (stated.rows, stated.columns) != (pixels.rows, pixels.columns):
        return f"holds a compressed image that is not the {pixels.rows} x {pixels.columns} that the file describes"
    if -(-stated.bits // 8) * 8 != pixels.bits_allocated:
        return f"holds compressed values of {stated.bits} bits, where {pixels.bits_allocated} are described"
    return ""


def _read(path: Path, pixels: Pixels) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        array: np.ndarray = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(
            f"holds pixels that cannot be decoded (transfer syntax {pixels.syntax})",
            where=pixels.path,
            remedy=_COPY_AGAIN,
        ) from error
    return array[0] if array.ndim == 3 else array


def _minimal_file(frame: bytes, pixels: Pixels) -> bytes:
    meta = b"".join(
        (
            _element(0x0002, 0x0001, "OB", b"\x00\x01"),
            _element(0x0002, 0x0002, "UI", _uid(_CT)),
            _element(0x0002, 0x0003, "UI", _uid(_INSTANCE)),
            _element(0x0002, 0x0010, "UI", _uid(pixels.syntax)),
            _element(0x0002, 0x0012, "UI", _uid(_INSTANCE)),
        )
    )
    shorts = (
        (0x0010, pixels.rows),
        (0x0011, pixels.columns),
        (0x0100, pixels.bits_allocated),
        (0x0101, pixels.bits_stored),
        (0x0102, pixels.high_bit),
        (0x0103, int(pixels.signed)),
    )
    return b"".join(
        (
            bytes(PREAMBLE) + MARK,
            _element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta))) + meta,
            _element(0x0008, 0x0016, "UI", _uid(_CT)) + _element(0x0008, 0x0018, "UI", _uid(_INSTANCE)),
            _element(0x0008, 0x0060, "CS", b"CT"),
            _element(0x0028, 0x0002, "US", struct.pack("<H", 1)),
            _element(0x0028, 0x0004, "CS", b"MONOCHROME2 "),
            *(_element(0x0028, tag, "US", struct.pack("<H", value)) for tag, value in shorts),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF),
            _item(0xE000, b"") + _item(0xE000, frame + bytes(len(frame) % 2)) + _item(0xE0DD, b""),
        )
    )


def _element(group: int, number: int, representation: str, value: bytes) -> bytes:
    form = "<HH2sHI" if representation in _LONG else "<HH2sH"
    length = (0, len(value)) if representation in _LONG else (len(value),)
    return struct.pack(form, group, number, representation.encode(), *length) + value


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, kind, len(value)) + value


def _uid(uid: str) -> bytes:
    return uid.encode() + bytes(len(uid) % 2)
