"""What a case's files hold, as one SHA-256: the same for stores and for ledgers, so that cases can be matched."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flarekit.files import input_errors, require_existing, sha256
from flarekit.volumes.companions import files_of


def digest(path: Path, series: str | None = None) -> str:
    """SHA-256 of a volume's file or files, or of a folder's files and the DICOM series that is meant.

    Raises InputError.
    """
    require_existing(path)
    with input_errors(path, remedy="Check its permissions, and its disk."):
        digests = [sha256(file) for file in files_of(path)] + ([] if series is None else [series])
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
