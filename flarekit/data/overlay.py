"""Label overlays: labels that stored cases came without, such as pseudo-labels. A store is never altered by them.

An overlay lies in an HDF5 file of its own, cut into axial slices like the case itself: `labels` uint8 (Z, H, W), 255
where the class is not known, and `label_voxels` int32 (Z, classes). It is made from a label map once; whoever trains
on it needs neither the label map nor what reads one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from flarekit.data.case_file import StoredCase
from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import count_voxels
from flarekit.errors import InputError
from flarekit.files import atomic_path, sha256
from flarekit.labels import LabelSet
from flarekit.volumes import Volume, require_same_grid

FORMAT, VERSION = "flarekit-overlay", 1
_SQUEEZED = {
    "compression": "gzip",
    "compression_opts": 4,
    "shuffle": True,
    "fletcher32": True,
}  # a hundredth; no plugin
_AGAIN = "Delete it: it is made again from its label map."


class Overlay:
    """Labels of one case, read slice by slice. The file is opened for each: masks are small, and handles are few.

    Raises InputError when the file is missing, damaged, or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with h5py.File(path, "r", locking=False) as file:
                attributes = dict(file.attrs)
                stated = attributes.pop("overlay_format", None), int(attributes.pop("overlay_version", 0))
                if stated != (FORMAT, VERSION):
                    raise ValueError(f"unknown format {stated[0]} version {stated[1]}")
                self.header = CaseHeader.from_attributes(attributes)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"is not a label overlay ({error})", where=path, remedy=_AGAIN) from error

    @cached_property
    def label_voxels(self) -> np.ndarray:
        """int32 (Z, classes): voxels of each class in each slice. Raises InputError where the file is damaged."""
        return self._read("label_voxels")[0]

    def labels_at(self, slices: Sequence[int]) -> np.ndarray:
        """uint8 (N, H, W): classes of the slices, 255 where not known. Raises InputError where the file is damaged."""
        return np.stack(self._read("labels", slices))

    def _read(self, name: str, slices: Sequence[int] | None = None) -> list[np.ndarray]:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                data = file[name]
                return [data[()]] if slices is None else [data[z] for z in slices]
        except (OSError, KeyError, RuntimeError) as error:
            raise InputError(f"is damaged: {name!r} cannot be read", where=self.path, remedy=_AGAIN) from error


def write_overlay(path: Path, mask: Path, case: StoredCase, labels: LabelSet) -> Overlay:
    """Make the overlay of a stored case from its label map, whose ids `labels` explains; one that is there goes.

    The overlay covers the organs that the label map shows. Any other may have been missed as well as be absent, and is
    one that nobody looked for, as under partial labels.
    Raises InputError when the label map cannot be read, lies on another grid than the case, or holds other ids than
    `labels` has; OutputError when the overlay cannot be written.
    """
    from flarekit.volumes import read_labels  # an overlay is read where no package reads label maps

    volume = read_labels(mask)
    grid = np.broadcast_to(np.uint8(0), case.shape)
    require_same_grid(volume, Volume(array=grid, source=case.header.source, path=case.path))
    classes = labels.to_classes(volume.array, where=mask)
    counts = count_voxels(classes, labels.classes)
    shown = tuple(int(c) for c in np.flatnonzero(counts.any(axis=0)) if c)
    header = replace(case.header, labelled=shown, labels_sha256=sha256(mask), baked=None)
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs.update(header.to_attributes() | {"overlay_format": FORMAT, "overlay_version": VERSION})
        file.create_dataset("labels", data=classes, chunks=(1, *classes.shape[1:]), **_SQUEEZED)
        file.create_dataset("label_voxels", data=counts, fletcher32=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(content.getbuffer())
    return Overlay(path)
