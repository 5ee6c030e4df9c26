"""Whether an input is one case or many, and which these are."""

from __future__ import annotations

import os
from pathlib import Path

from flarekit.data.layouts import CaseFiles, find_cases, layout_of, parts_of, volumes_in
from flarekit.volumes.dicom import holds_dicom
from flarekit.volumes.formats import SEGMENTATION_SUFFIX, SUFFIXES
from flarekit.volumes.hu import HuOffset


def is_batch(source: Path, output: Path | None) -> bool:
    """Whether `source` is a folder of cases: of volumes, or of a data set.

    A folder that holds DICOM is one case. One that only has DICOM further down is a folder of cases where `output`
    is a folder; where that is a file, or not given, all of it is one case. Raises InputError for a folder that cannot
    be looked into.
    """
    if not os.path.isdir(source):  # unlike Path.is_dir, False for a name that is too long
        return False
    if parts_of(source) != [source] or layout_of(source) or volumes_in(source):
        return True
    names_file = output is None or output.name.lower().endswith((*SUFFIXES, SEGMENTATION_SUFFIX))
    return not holds_dicom(source) and not names_file


def cases_in(source: Path, folder: Path, *, series: str | None, hu_offset: HuOffset) -> tuple[CaseFiles, ...]:
    """The cases to segment into `folder`, which is none of them itself. Raises InputError as `find_cases` does."""
    found = find_cases(source, series=series, hu_offset=hu_offset).cases
    return tuple(case for case in found if case.image.resolve() != folder.resolve())
