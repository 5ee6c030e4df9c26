"""The voxels of a plain .nii.gz through ITK, which unpacks three times as fast as Python's zlib, and their proof.

By itself ITK takes a file that was cut short for a whole one, NaN for 0, and may take another file of that name for
this one. The checksum at the file's end tells whether header and voxels are what was packed; where it does not fit,
the reader that knows why has to read the file again.
"""

from __future__ import annotations

import os
import struct
import zlib

import SimpleITK as sitk

from flarekit.volumes.itk import array_view, silence
from flarekit.volumes.stored import StoredVoxels

_MOST_BYTES = 1 << 28  # ITK holds the voxels twice while it reads: beyond this, memory is worth more than a second
_TRAILER = struct.Struct("<II")  # the end of a gzip file: CRC-32 and size of what was packed


def read_through_itk(stored: StoredVoxels, head: bytes) -> sitk.Image | None:
    """An image of exactly the voxels that `stored` speaks of, or None where ITK cannot be shown to read them right.

    `head` is what the file unpacks to before the voxels. Raises OSError when the file cannot be opened.
    """
    if stored.size_bytes > _MOST_BYTES or not stored.dtype.isnative:
        return None
    checksum, size = _trailer(stored)
    if size != len(head) + stored.size_bytes or (image := _image(stored)) is None:
        return None
    array = array_view(image)
    if (array.shape, array.dtype) != (stored.shape, stored.dtype):
        return None
    return image if zlib.crc32(array.T.data, zlib.crc32(head)) == checksum else None


def _trailer(stored: StoredVoxels) -> tuple[int, int]:
    with stored.path.open("rb") as file:
        file.seek(-_TRAILER.size, os.SEEK_END)
        checksum, size = _TRAILER.unpack(file.read(_TRAILER.size))
    return checksum, size


def _image(stored: StoredVoxels) -> sitk.Image | None:
    silence()
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(stored.path))
    try:
        return reader.Execute()
    except RuntimeError:
        return None
