"""From a stored case back to volume files on its source's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flarekit.data.case_file import StoredCase
from flarekit.errors import InputError
from flarekit.labels import IGNORE
from flarekit.volumes import Volume, write_labels, write_volume


def export_image(case: StoredCase, path: Path, *, overwrite: bool = False) -> None:
    """Write the CT in HU. Raises InputError when the store holds baked windows, and OutputError."""
    write_volume(path, case.volume(), overwrite=overwrite)


def export_labels(case: StoredCase, path: Path, *, overwrite: bool = False) -> None:
    """Write the label map as ids, 255 where the class is open. Raises InputError without labels, and OutputError."""
    classes = case.label_volume()
    if classes is None:
        raise InputError("has no labels", where=case.path, remedy="Leave out --labels.")
    write_labels(path, classes.like(_ids(case, classes)), overwrite=overwrite)


def _ids(case: StoredCase, classes: Volume) -> np.ndarray:
    is_open = classes.array == IGNORE
    labels = case.header.label_set
    if IGNORE in labels.ids and is_open.any():
        raise InputError(
            f"has voxels of open class, for which {IGNORE} is written, but an organ has that id",
            where=case.path,
            remedy="Give that organ another id.",
        )
    ids = labels.to_ids(np.where(is_open, 0, classes.array))
    return np.where(is_open, ids.dtype.type(IGNORE), ids)
