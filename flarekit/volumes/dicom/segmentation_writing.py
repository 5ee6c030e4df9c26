"""A label map as DICOM-SEG: a segment an organ, in coded terms, on the very slices of the CT (PS3.3 A.51, C.8.20).

Segments count from 1 and their pixels are single bits; slices on which an organ is not are left out. What is not known
here is written by highdicom (the extra `dicom`): the references to the CT's images, its patient and its study.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flarekit.errors import InputError, MissingDependency
from flarekit.files import atomic_path
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.origin import Origin
from flarekit.volumes.dicom.quiet import quietly
from flarekit.volumes.dicom.references import images, require_referable
from flarekit.volumes.dicom.terms import PRIVATE, Code, term_of
from flarekit.volumes.naming import NamedLabel
from flarekit.volumes.volume import Volume

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom import Dataset

_LONG = 64  # characters of a text (LO)
_SERIES_NUMBERS_FROM = 1000  # those of segmentations, beside those of the scanner
_MOST_SERIES = 1_000_000
_UNICODE = "ISO_IR 192"
_ARTIFICIAL_INTELLIGENCE = Code("123110", "Artificial Intelligence", "DCM")  # of CID 7162
_REFUSALS = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, NotImplementedError, EOFError)


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What made a segmentation."""

    maker: str  # the program
    version: str  # of the program
    name: str  # of what it ran
    serial: str  # what tells that from others of the same name
    parameters: Mapping[str, str]  # what else it was run with


def require_highdicom() -> None:
    """Raises MissingDependency unless highdicom is installed."""
    if importlib.util.find_spec("highdicom") is None:
        raise MissingDependency(
            "a DICOM-SEG is written by highdicom, which is not installed here",
            remedy='Install it by pip install "flarekit[dicom]", or write the mask as .nii.gz.',
        )


def require_segmentable(volume: Volume) -> None:
    """Raises InputError where no DICOM-SEG of the volume can be written: to be called before long work."""
    origin = _origin_of(volume)
    with quietly(), _describing(volume.path):
        images(origin)


def write_segmentation(
    path: Path, volume: Volume, labels: Sequence[NamedLabel], algorithm: Algorithm, *, overwrite: bool = False
) -> None:
    """Write a label map of a CT in DICOM as DICOM-SEG, with one segment for each of the `labels`.

    The ids count from 1 in the order of `labels`, and `volume` lies on the CT's grid. A segment without a voxel has no
    frame; where none has any, the lowest slice shows all of them empty. The file appears whole or not at all. Raises
    InputError where the CT is not from DICOM or lacks what has to be repeated of it, MissingDependency, OutputError,
    and ValueError for other ids.
    """
    if [label.id for label in labels] != list(range(1, len(labels) + 1)):
        raise ValueError(f"segments are numbered 1, 2, ... in their order, got {[label.id for label in labels]}")
    require_highdicom()
    origin, ids = _origin_of(volume), volume.to_source_axes().transpose(2, 1, 0)
    if not ids.any():
        origin, ids = replace(origin, slices=origin.slices[:1]), ids[:1]
    with quietly():
        with _describing(volume.path):
            made = _segmentation(images(origin), ids, labels, algorithm, _series_number(origin))
        if origin.multi_frame:
            _refer_to_frames(made, origin)
        with atomic_path(path, overwrite=overwrite) as temporary, _describing(volume.path):
            made.save_as(temporary)


def _origin_of(volume: Volume) -> Origin:
    """Where the volume is from. Raises InputError unless that is DICOM that can be referred to."""
    if volume.origin is None:
        raise InputError(
            "is not DICOM: a DICOM-SEG refers to the slices of a DICOM series",
            where=volume.path or "the CT",
            remedy="Write the mask as .nii.gz, or give the CT as DICOM.",
        )
    require_referable(volume.origin, volume.path)
    return volume.origin


@contextmanager
def _describing(where: Path | None) -> Iterator[None]:
    """Turns what pydicom and highdicom cannot make of the CT's header into InputError.

    Without their words, which may quote the patient's name.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except (*_REFUSALS, BytesLengthException, InvalidDicomError) as error:
        raise InputError(
            f"has a header that cannot be repeated in a DICOM-SEG ({type(error).__name__})",
            where=where,
            remedy="Export the series again, or write the mask as .nii.gz.",
        ) from error


def _series_number(origin: Origin) -> int:
    number = origin.slices[0].header.elements.number(tags.SERIES_NUMBER, 0.0)
    return _SERIES_NUMBERS_FROM + (int(number) if 0 < number < _MOST_SERIES else 0)


def _segmentation(
    sources: list[Dataset],
    ids: np.ndarray,
    labels: Sequence[NamedLabel],
    algorithm: Algorithm,
    series_number: int,
) -> Segmentation:
    """The object of `ids` (K, rows, columns) on the K slices of the sources."""
    from highdicom import UID
    from highdicom.seg import Segmentation

    letters = sources[0].get("SpecificCharacterSet")
    sources[0].pop("SpecificCharacterSet", None)  # highdicom refuses some that are in use
    made = Segmentation(
        source_images=sources,
        pixel_array=ids,
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(labels, algorithm),
        series_instance_uid=UID(),
        series_number=series_number,
        series_description=algorithm.name[:_LONG],
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=algorithm.maker,
        manufacturer_model_name=algorithm.maker,
        software_versions=algorithm.version,
        device_serial_number=algorithm.serial[:_LONG],
        content_label="ORGANS",
        omit_empty_frames=bool(ids.any()),
        coding_schemes=_own_scheme(labels, algorithm),
    )
    if not all(label.name.isascii() for label in labels):
        made.SpecificCharacterSet = _UNICODE  # the CT's own may not have the letters
    elif letters:
        made.SpecificCharacterSet = letters
    return made


def _descriptions(labels: Sequence[NamedLabel], algorithm: Algorithm) -> list[SegmentDescription]:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    made_by = AlgorithmIdentificationSequence(
        name=algorithm.name[:_LONG],
        version=algorithm.version[:_LONG],
        family=_coded(_ARTIFICIAL_INTELLIGENCE),
        source=algorithm.maker,
        parameters=dict(algorithm.parameters),
    )
    found = []
    for label in labels:
        term = term_of(label.name)
        description = SegmentDescription(
            segment_number=label.id,
            segment_label=_readable(label.name),
            segmented_property_category=_coded(term.category),
            segmented_property_type=_coded(term.structure),
            algorithm_type="AUTOMATIC",
            algorithm_identification=made_by,
            display_color=CIELabColor.from_rgb(*label.colour),
        )
        if term.side is not None:
            structure = description.SegmentedPropertyTypeCodeSequence[0]
            structure.SegmentedPropertyTypeModifierCodeSequence = [_coded(term.side)]
        found.append(description)
    return found


def _own_scheme(labels: Sequence[NamedLabel], algorithm: Algorithm) -> list[CodingSchemeIdentificationItem] | None:
    """Says whose the private codes are, where there are any."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    if all(term_of(label.name).structure.scheme != PRIVATE for label in labels):
        return None
    own = CodingSchemeIdentificationItem(
        designator=PRIVATE, name="Names of flarekit's label sets", responsible_organization=algorithm.maker
    )
    return [own]


def _coded(code: Code) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _readable(organ: str) -> str:
    """The name as a viewer lists it; a backslash would part it in two."""
    name = " ".join(organ.replace("_", " ").replace("\\", "/").split())[:_LONG]
    return name[:1].upper() + name[1:]


def _refer_to_frames(made: Segmentation, origin: Origin) -> None:
    """Number the frames as their file does: up to here they count along the volume."""
    groups = made.PerFrameFunctionalGroupsSequence
    found = [source for group in groups for source in group.DerivationImageSequence[0].SourceImageSequence]
    for source in {id(source): source for source in found}.values():  # segments of one slice share it
        source.ReferencedFrameNumber = origin.slices[int(source.ReferencedFrameNumber) - 1].frame + 1
