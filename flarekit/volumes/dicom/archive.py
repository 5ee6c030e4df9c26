"""A zip of DICOM files, unpacked where it cannot do harm, and cleared away."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flarekit.errors import InputError
from flarekit.files import output_errors
from flarekit.volumes.dicom.elements import MARK, PREAMBLE, is_dicom

_SUFFIX = ".zip"
_MOST_FILES = 100_000
_JUSTIFIED, _FREE_BYTES = 200, 1 << 27  # CTs shrink to a half or a third; 128 MiB need no proof
_ENCRYPTED = 1  # bit of a member's flags
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_REFUSALS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, OverflowError, ValueError)


def is_archive(path: Path) -> bool:
    """Whether the path names a zip file."""
    return path.name.lower().endswith(_SUFFIX) and path.is_file()


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """A temporary folder with the archive's DICOM files, which goes when the block ends.

    The files are numbered: no name in the archive is used as a path. Errors that name one of the files name the
    archive's member instead. Raises InputError when the archive is damaged, encrypted, or would unpack to more
    than its size and the free disk space allow, and OutputError when the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="flarekit-dicom-") as name:
        folder = Path(name)
        members = _extract(archive, folder)
        try:
            yield folder
        except InputError as error:
            if isinstance(error.where, Path) and error.where.parent == folder:
                where = f"{archive}/{members[error.where.name]}"
                raise InputError(error.what, where=where, remedy=error.remedy) from error
            raise


def _extract(archive: Path, folder: Path) -> dict[str, str]:
    """The members by the name they got in `folder`."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.filename.endswith("/")]  # a name may be empty
            _require_harmless(archive, members, shutil.disk_usage(folder).free)
            names = {f"{number:06d}-{_plain(info)}": info for number, info in enumerate(members)}
            return {name: info.filename for name, info in names.items() if _copy(opened, info, folder / name)}
    except _REFUSALS as error:
        raise InputError(
            f"cannot be unpacked ({error})", where=archive, remedy="Copy or download it again: it is damaged."
        ) from error


def _require_harmless(archive: Path, members: list[zipfile.ZipInfo], free_bytes: int) -> None:
    total, size = sum(info.file_size for info in members), archive.stat().st_size
    if any(info.flag_bits & _ENCRYPTED for info in members):
        raise InputError("is encrypted", where=archive, remedy="Unpack it with its password and give the folder.")
    if any(info.compress_type not in _COMPRESSIONS for info in members):
        raise InputError("is compressed in an unusual way", where=archive, remedy="Unpack it and give the folder.")
    if len(members) > _MOST_FILES or total > _JUSTIFIED * size + _FREE_BYTES:
        raise InputError(
            f"would unpack to {len(members)} files of {total / 1e9:.1f} GB, which is no plausible scan",
            where=archive,
            remedy="Unpack it yourself and give the folder, if you trust it.",
        )
    if total > free_bytes:
        raise InputError(
            f"needs {total / 1e9:.1f} GB to unpack, and {free_bytes / 1e9:.1f} GB are free in {tempfile.gettempdir()}",
            where=archive,
            remedy="Free some disk space, or set TMPDIR to a larger disk.",
        )


def _plain(info: zipfile.ZipInfo) -> str:
    """The end of a member's name, of harmless characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", info.filename.rpartition("/")[2])[-80:]


def _copy(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> bool:
    """Unpack a member that is DICOM; whether it is. Its checksum is verified on the way."""
    with opened.open(info) as source:
        head = source.read(PREAMBLE + len(MARK))
        if not is_dicom(head):
            return False
        with output_errors(target), target.open("wb") as file:
            file.write(head)
            shutil.copyfileobj(source, file)
    return True
