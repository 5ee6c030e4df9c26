"""What a file holds, as a number that tells it from others."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, or of a folder's files whatever their names, as 64 hexadecimal digits."""
    if path.is_dir():
        digests = sorted(sha256(file) for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
