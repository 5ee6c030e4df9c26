"""The names that a label map's file gives its ids, where `flarekit.volumes.naming` and other programs write them."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from flarekit.volumes.formats import METAIMAGE_SUFFIXES, NIFTI_SUFFIXES, NRRD_SUFFIXES
from flarekit.volumes.text_header import text_lines

_SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue)\s*:?=\s*(.*)")  # of NRRD, of MetaImage


def label_names(path: Path) -> dict[int, str]:
    """Names by id, as the header of a .nii, .nrrd or .mha has them; empty where it has none that can be read."""
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _caret_names(path)
    return _segment_names(path) if name.endswith((*NRRD_SUFFIXES, *METAIMAGE_SUFFIXES)) else {}


def _caret_names(path: Path) -> dict[int, str]:
    try:
        header = nibabel.load(path).header
        assert isinstance(header, nibabel.Nifti1Header)  # or its heir, NIfTI-2's
        contents = [extension.get_content() for extension in header.extensions]
        tables = [text.rstrip(b"\0 ") for text in contents if isinstance(text, bytes) and b"<CaretExtension" in text]
        labels = [label for table in tables for label in ElementTree.fromstring(table).iter("Label")]
        return {int(label.attrib["Key"]): (label.text or "").strip() for label in labels if int(label.attrib["Key"])}
    except (ImageFileError, HeaderDataError, ElementTree.ParseError, KeyError, ValueError):
        return {}


def _segment_names(path: Path) -> dict[int, str]:
    """Of 3D Slicer's segments."""
    with path.open("rb") as file:
        header = takewhile(lambda line: line and not line.startswith("ElementDataFile"), text_lines(file))
        found = [match.groups() for line in header if (match := _SEGMENT.fullmatch(line))]
    parts = {(segment, part): value.strip() for segment, part, value in found}
    pairs = [(value, parts.get((segment, "Name"))) for (segment, part), value in parts.items() if part == "LabelValue"]
    return {int(number): name for number, name in pairs if name and number.isdecimal()}
