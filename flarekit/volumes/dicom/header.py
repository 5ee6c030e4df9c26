"""What one DICOM file says of itself, and which of a folder's files are DICOM at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from flarekit.errors import InputError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.elements import MARK, PREAMBLE, Content, Elements, is_dicom, read_content

CT, SEGMENTATION = "CT", "SEG"
CT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    }
)
SEGMENTATION_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
    }
)
_LOCALIZER = "LOCALIZER"


@dataclass(frozen=True, kw_only=True)
class Header:
    """A DICOM file without its pixels."""

    path: Path
    content: Content

    @property
    def elements(self) -> Elements:
        """The file's data set."""
        return self.content.elements

    @property
    def syntax(self) -> str:
        """UID of the transfer syntax."""
        return self.content.meta.text(tags.TRANSFER_SYNTAX)

    @property
    def sop_class(self) -> str:
        """UID of the kind of object, which some writers give in the file's own description alone."""
        return self.elements.text(tags.SOP_CLASS) or self.content.meta.text(tags.MEDIA_CLASS)

    @property
    def modality(self) -> str:
        """CT, MR, SEG ...; "unknown" without one."""
        return self.elements.text(tags.MODALITY) or "unknown"

    @property
    def is_ct(self) -> bool:
        """Whether it is an image of a CT scan: no localizer, no screenshot, no report."""
        return self.modality == CT and self.sop_class in CT_CLASSES and not self.is_localizer

    @property
    def is_localizer(self) -> bool:
        """Whether it is an overview that the scan was planned on."""
        return _LOCALIZER in self.elements.text(tags.IMAGE_TYPE).upper().split("\\")

    @property
    def kind(self) -> str:
        """What a folder without a CT is said to hold."""
        if self.is_localizer:
            return f"localizers of {self.modality[:16]}"
        if self.modality == CT:
            return "CT pictures that are no scan"
        return self.modality[:16]

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a DICOM-SEG."""
        return self.sop_class in SEGMENTATION_CLASSES

    @property
    def may_be_ct(self) -> bool:
        """Whether it is a CT, or was damaged before it could say that it is something else."""
        unknown = self.modality in (CT, "unknown") and self.sop_class in ("", *CT_CLASSES)
        return self.is_ct or (bool(self.content.damage) and unknown)


def read_header(path: Path, sequences: Set[int] = tags.SEQUENCES) -> Header | None:
    """The header of a DICOM file, with what is in those sequences, None for a file of another kind.

    Raises InputError when it cannot be opened.
    """
    with _opening(path), path.open("rb") as file:
        if not is_dicom(file.read(PREAMBLE + len(MARK))):
            return None
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return Header(path=path, content=read_content(data, sequences))


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and in its subfolders, sorted; links to folders are not followed.

    Raises InputError where a subfolder cannot be opened: slices may lie there.
    """
    return sorted(_walk(folder))


def holds_dicom(folder: Path, *, besides: Set[Path] = frozenset()) -> bool:
    """Whether any file directly in the folder starts like DICOM, those aside that are known to be something else.

    Raises InputError when one cannot be opened.
    """
    with _opening(folder):
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and file not in besides]
    return any(map(starts_like_dicom, files))


def holds_dicom_below(folder: Path) -> bool:
    """Whether any file in the folder or in its subfolders starts like DICOM. Raises InputError like `files_below`."""
    return any(map(starts_like_dicom, _walk(folder)))


def starts_like_dicom(file: Path) -> bool:
    """Whether a file carries DICOM's mark. Raises InputError when it cannot be opened."""
    with _opening(file), file.open("rb") as opened:
        return is_dicom(opened.read(PREAMBLE + len(MARK)))


def _walk(folder: Path) -> Iterator[Path]:
    with _opening(folder):
        for parent, _, names in os.walk(folder, onerror=_raise):
            yield from (file for name in names if (file := Path(parent, name)).is_file())


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turns what the system does not let be opened, `path` or something in it, into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot be opened ({error.strerror or error})",
            where=Path(error.filename or path),
            remedy="Check that it may be read.",
        ) from error
