"""What a case's files hold, as one SHA-256: the same for stores and for ledgers, so that cases can be matched."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flarekit.errors import InputError
from flarekit.files import sha256
from flarekit.volumes.companions import files_of


def digest(path: Path, series: str | None = None) -> str:
    """SHA-256 of a volume's file or files, or of a folder's files and the DICOM series that is meant.

    Raises InputError.
    """
    if not path.exists():
        raise InputError("does not exist", where=path, remedy="Check the path.")
    try:
        digests = [sha256(file) for file in files_of(path)] + ([] if series is None else [series])
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=path, remedy="Check its permissions, and its disk."
        ) from error
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
