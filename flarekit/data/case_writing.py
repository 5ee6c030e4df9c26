"""Writing a case of a slice store, in the form that `flarekit.data.case_file` describes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from flarekit.config.preprocessing import WindowPreset
from flarekit.data.case_header import CaseHeader
from flarekit.data.checksum import BLOCK_BYTES, sign
from flarekit.data.compression import filter_of
from flarekit.files import atomic_path, refuse_existing
from flarekit.labels import IGNORE

_LIBRARY = ("v110", "v110")  # HDF5's structures have checksums of their own from 1.10 on: damage to them is an error


def write_case(
    path: Path,
    header: CaseHeader,
    hu: np.ndarray,
    classes: np.ndarray | None = None,
    *,
    compression: str,
    overwrite: bool = False,
    before_visible: Callable[[], None] = lambda: None,
) -> None:
    """Write a case from int16 HU (Z, H, W) and uint8 classes (Z, H, W), whole or not at all.

    Voxels outside `header.labelled` become 255 unless all classes are labelled. `before_visible` is called once
    the file is written, and may raise: then there is none. The compressed file is made in memory first: HDF5
    crashes the process when the disk is full. Equal arguments give equal bytes. Raises OutputError.
    """
    refuse_existing(path, overwrite=overwrite)
    content = BytesIO()
    with h5py.File(content, "w", userblock_size=BLOCK_BYTES, libver=_LIBRARY) as file:
        _fill(file, header, hu, classes, filter_of(compression) | {"fletcher32": True})
    sign(content.getbuffer())
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content.getbuffer())
        before_visible()


def known_classes(classes: np.ndarray, header: CaseHeader) -> np.ndarray:
    """uint8 classes with 255 wherever partial labels leave the class open."""
    if len(header.labelled) == header.label_set.classes - 1:
        return classes
    table = np.full(256, IGNORE, dtype=np.uint8)
    table[list(header.labelled)] = header.labelled
    return table[classes]


def count_voxels(classes: np.ndarray, number: int) -> np.ndarray:
    """int32 (Z, number): voxels of each class in each slice of (Z, H, W); 255 is not counted."""
    return np.stack([np.bincount(plane.ravel(), minlength=256)[:number] for plane in classes]).astype(np.int32)


def _fill(
    file: h5py.File, header: CaseHeader, hu: np.ndarray, classes: np.ndarray | None, chunks: dict[str, Any]
) -> None:
    file.attrs.update({name: _inline(value) for name, value in header.to_attributes().items()})
    if header.baked is None:
        file.create_dataset("hu", data=hu, chunks=(1, *hu.shape[1:]), **chunks)
    else:
        _write_baked(file, hu, header.baked, chunks)
    if classes is not None:
        known = known_classes(classes, header)
        file.create_dataset("labels", data=known, chunks=(1, *known.shape[1:]), **chunks)
        counts = count_voxels(known, header.label_set.classes)
        file.create_dataset("label_voxels", data=counts, chunks=counts.shape, fletcher32=True)


def _write_baked(file: h5py.File, hu: np.ndarray, preset: WindowPreset, chunks: dict[str, Any]) -> None:
    import torch

    from flarekit.data.windows import window_slices

    depth, rows, columns = hu.shape
    shape = (depth, len(preset.ranges_hu), rows, columns)
    image = file.create_dataset("image", shape, np.uint8, chunks=(1, *shape[1:]), **chunks)
    for z, plane in enumerate(hu):
        image[z] = window_slices(torch.from_numpy(np.ascontiguousarray(plane)), preset).numpy()


def _inline(value: Any) -> Any:
    """Text of fixed length, which HDF5 keeps beside the attribute's name: its heap for other text has no checksum."""
    if not isinstance(value, str):
        return value
    content = value.encode()
    return np.array(content, dtype=h5py.string_dtype("utf-8", max(1, len(content))))
