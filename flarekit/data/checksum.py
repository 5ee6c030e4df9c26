"""A case's SHA-256 in its first 512 bytes, which HDF5 leaves to others (the user block) and every HDF5 reader skips.

It covers every byte after the block, so that any flipped byte is found without decompressing anything; without
flarekit, `tail -c +513 CASE.h5 | sha256sum` and `head -c 100 CASE.h5` say the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK_BYTES = 512
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_READ_BYTES = 1 << 20


def block_of(digest: str) -> bytes:
    """The block that states a SHA-256, given as 64 hexadecimal digits."""
    return f"flarekit case\nsha256 of the bytes from 512 on: {digest}\n".encode().ljust(BLOCK_BYTES, b"\0")


def sign(content: memoryview) -> None:
    """Write the checksum into the first bytes of an HDF5 file in memory, made with a user block of `BLOCK_BYTES`."""
    content[:BLOCK_BYTES] = block_of(hashlib.sha256(content[BLOCK_BYTES:]).hexdigest())


def is_whole(path: Path) -> bool | None:
    """Whether the file's bytes are those that were written; None for a file without a checksum. Raises OSError."""
    with path.open("rb") as file:
        block = file.read(BLOCK_BYTES)
        if block.startswith(_HDF5_SIGNATURE):
            return None
        digest = hashlib.sha256()
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return block == block_of(digest.hexdigest())
