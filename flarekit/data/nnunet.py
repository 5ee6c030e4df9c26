"""Cases laid out for nnU-Net (version 2): imagesTr/NAME_0000.nii.gz, labelsTr/NAME.nii.gz and dataset.json.

nnU-Net wants ids that follow one another from 0, and the label it ignores in training to be the highest of them, called
"ignore". Images and label maps have one file ending, and lie on one grid as SimpleITK reads it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from flarekit.data.layouts import DESCRIPTION, CaseFiles
from flarekit.files import atomic_path, output_errors, write_json
from flarekit.labels import LabelSet
from flarekit.volumes import Volume, write_volume
from flarekit.volumes.itk import lies_where_itk_sees_it

IMAGES, LABELS = "imagesTr", "labelsTr"
ENDING = ".nii.gz"


def consecutive(labels: LabelSet) -> LabelSet:
    """The organs with the ids 1..n in class order, and the one after for what is ignored."""
    organs = len(labels.names)
    return replace(labels, ids=tuple(range(1, organs + 1)), ignore_id=organs + 1)


def label_ids(labels: LabelSet) -> dict[str, int]:
    """Name to id, background first and "ignore" last, as `dataset.json` has them."""
    ids = {"background": 0} | dict(zip(labels.names, labels.ids, strict=True))
    return ids if labels.ignore_id is None else ids | {"ignore": labels.ignore_id}


def write_description(folder: Path, labels: LabelSet, cases: int) -> None:
    """Write dataset.json for so many training cases, over one that is there. Raises OutputError."""
    description = {
        "name": labels.name,
        "channel_names": {"0": "CT"},
        "labels": label_ids(labels),
        "numTraining": cases,
        "file_ending": ENDING,
        "pairs": [list(pair) for pair in labels.pairs],
    }
    write_json(folder / DESCRIPTION, description, overwrite=True)


def place_image(case: CaseFiles, volume: Volume, folder: Path) -> Path:
    """The case's image in imagesTr, over one that is there; `volume` is what was read of it.

    A .nii.gz in HU that SimpleITK places where flarekit does becomes a hard link, which takes no space (a copy on
    another file system); everything else is written anew. Raises OutputError.
    """
    target = _image(folder, case.name)
    if not _serves_as_it_is(case, volume):
        write_volume(target, volume, overwrite=True)
    elif not _linked(case.image.resolve(), target):
        with atomic_path(target, overwrite=True) as temporary:
            shutil.copyfile(case.image, temporary)
    return target


def images_of(label_map: Path) -> list[Path]:
    """Where `place_image` puts the image that a label map in labelsTr goes with; none for one in another folder."""
    if label_map.parent.name != LABELS:
        return []
    return [_image(label_map.parent.parent, label_map.name.removesuffix(ENDING))]


def _image(folder: Path, case: str) -> Path:
    return folder / IMAGES / f"{case}_0000{ENDING}"


def _serves_as_it_is(case: CaseFiles, volume: Volume) -> bool:
    is_nifti = case.image.is_file() and case.image.name.lower().endswith(ENDING)
    return is_nifti and volume.hu_offset == 0 and lies_where_itk_sees_it(case.image, volume)


def _linked(source: Path, target: Path) -> bool:
    """Whether a hard link could be made: not across file systems, nor where they know none."""
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
