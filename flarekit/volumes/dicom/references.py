"""The images that a DICOM-SEG is drawn on, as highdicom takes them: their names, their places, and their patient.

Names and places are those that the reader went by, whatever else the files say; the patient and the study are read by
pydicom from the first of them. Elements that have to be there and may be empty are made empty where they are missing or
hold what they may not (PS3.3 C.7.1.1, C.7.2.1).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flarekit.errors import InputError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.geometry import normal_of
from flarekit.volumes.dicom.origin import Origin
from flarekit.volumes.dicom.slices import Slice

if TYPE_CHECKING:
    from pydicom import Dataset

_ANOTHER_FORMAT = "Write the mask as .nii.gz."
_IDENTIFIED = (
    (tags.STUDY_UID, "study"),
    (tags.SERIES_UID, "series"),
    (tags.FRAME_OF_REFERENCE, "frame of reference"),
)
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SEXES = ("M", "F", "O")


def require_referable(origin: Origin, where: Path | None) -> None:
    """Raises InputError where the slices do not say what a DICOM-SEG has to repeat of them."""
    for tag, what in _IDENTIFIED:
        stated = origin.stated(tag)
        if stated == [""]:
            raise _refusal(f"does not say its {what} (UID), which a DICOM-SEG has to name", where)
        if len(stated) > 1:
            raise _refusal(f"mixes slices of {len(stated)} {what} UIDs, of which a DICOM-SEG has one", where)
    names, files = origin.stated(tags.SOP_UID), {slice_.path for slice_ in origin.slices}
    if "" in names or len(names) != len(files):
        raise _refusal("has slices without a UID of their own, by which a DICOM-SEG could refer to them", where)
    if origin.multi_frame and len(files) > 1:
        raise _refusal(f"lies in {len(files)} multi-frame files, where a DICOM-SEG refers to one", where)


def images(origin: Origin) -> list[Dataset]:
    """The slices as images without pixels, or the one multi-frame image whose frames they are, in their order."""
    from pydicom import Dataset

    slices, first = origin.slices, _first(origin)
    step_mm = _apart_mm(slices)
    if origin.multi_frame:
        return [_multi_frame(first, slices, step_mm)]
    found = [first, *(Dataset() for _ in slices[1:])]
    for image, slice_ in zip(found, slices, strict=True):
        _name(image, slice_)
        image.ImagePositionPatient = _decimals(slice_.position_mm)
        image.ImageOrientationPatient = _decimals(slices[0].orientation)
        _measure(image, slices[0], step_mm)
    return found


def _first(origin: Origin) -> Dataset:
    """The first slice's file, with the patient and the study."""
    import pydicom

    image = pydicom.dcmread(io.BytesIO(origin.head), stop_before_pixels=True)
    image.decode()  # while it is known in which letters
    for keyword in _MAY_BE_EMPTY:
        if not _holds(image, keyword):
            setattr(image, keyword, "")
    return image


def _holds(image: Dataset, keyword: str) -> bool:
    """Whether there is something in the element, and it is what belongs there."""
    from pydicom.valuerep import DA, TM

    value = image.get(keyword)
    try:
        if keyword.endswith("Date"):
            return bool(DA(str(value or "")))
        if keyword.endswith("Time"):
            return bool(TM(str(value or "")))
    except ValueError:
        return False
    return value in _SEXES if keyword == "PatientSex" else bool(value)


def _name(image: Dataset, slice_: Slice) -> None:
    say = slice_.header.elements
    image.SOPClassUID, image.SOPInstanceUID = slice_.header.sop_class, say.text(tags.SOP_UID)
    image.StudyInstanceUID, image.SeriesInstanceUID = say.text(tags.STUDY_UID), say.text(tags.SERIES_UID)
    image.FrameOfReferenceUID = say.text(tags.FRAME_OF_REFERENCE)
    image.Rows, image.Columns = slice_.shape


def _multi_frame(image: Dataset, slices: tuple[Slice, ...], step_mm: float) -> Dataset:
    """The image as if it had these frames alone, in this order."""
    from pydicom import Dataset

    _name(image, slices[0])
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _decimals(slices[0].orientation)
    _measure(measures, slices[0], step_mm)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for slice_ in slices:
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(slice_.position_mm)
        group.PlanePositionSequence = [position]
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = groups
    image.NumberOfFrames = len(groups)
    return image


def _measure(image: Dataset, first: Slice, step_mm: float) -> None:
    image.PixelSpacing = _decimals(first.spacing_mm)
    (image.SliceThickness,) = _decimals((first.thickness_mm if first.thickness_mm > 0 else step_mm,))
    (image.SpacingBetweenSlices,) = _decimals((step_mm,))


def _apart_mm(slices: tuple[Slice, ...]) -> float:
    """Between neighbouring slices, across them; of a single one, its thickness."""
    if len(slices) == 1:
        return slices[0].thickness_mm if slices[0].thickness_mm > 0 else 1.0
    way_mm = np.subtract(slices[-1].position_mm, slices[0].position_mm)
    return float(normal_of(slices[0]) @ way_mm) / (len(slices) - 1)


def _decimals(numbers: tuple[float, ...]) -> list[str]:
    """As DICOM writes numbers, in at most 16 characters (DS)."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(number) for number in numbers]


def _refusal(what: str, where: Path | None) -> InputError:
    return InputError(what, where=where, remedy=_ANOTHER_FORMAT)
