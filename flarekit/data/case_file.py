"""One case of a slice store as an HDF5 file: axial slices, one a chunk, so that any slice is read alone.

| data set | type | shape | what |
| --- | --- | --- | --- |
| hu | int16 | (Z, H, W) | HU on the canonical grid; absent when windows are baked |
| image | uint8 | (Z, C, H, W) | baked windows, one channel each; absent otherwise |
| labels | uint8 | (Z, H, W) | classes, 255 where the class is not known; absent without labels |
| label_voxels | int32 | (Z, classes) | voxels of each class in each slice; absent without labels |

A case whose labels cover some organs only holds 255 in place of background and of every other organ: such a voxel
is none of the labelled organs, and may be any other. Attributes say the rest (`flarekit.data.case_header`), text in
UTF-8; the first 512 bytes hold a checksum of all others (`flarekit.data.checksum`). Chunks and HDF5's own structures
have checksums too, so that damage is an error when it is read, before a decompressor sees it. Any HDF5 library from
1.10 on reads a case, h5py once hdf5plugin is imported, as examples/read_store.py does in full:

    import h5py, hdf5plugin
    with h5py.File("stores/flare22/FLARE22_Tr_0001.h5") as file:
        middle = file["hu"][file["hu"].shape[0] // 2]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from flarekit.config.preprocessing import WindowPreset
from flarekit.data.case_header import CaseHeader
from flarekit.data.compression import load_filter
from flarekit.errors import InputError
from flarekit.volumes import Volume

if TYPE_CHECKING:
    from torch import Tensor

_AGAIN = "Preprocess the case again with --overwrite."


class StoredCase:
    """A case read slice by slice. The file is opened on first use, again in every process, and pickles closed.

    Whatever reads voxels raises InputError where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._data: dict[str, h5py.Dataset] = {}  # looked up once: that takes as long as reading a slice
        self._process = 0
        self.header = self._read_header()

    @property
    def name(self) -> str:
        """The case's name."""
        return self.header.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, H, W)."""
        z, h, w = self.header.source.reorientation.canonical_shape(self.header.source.shape)
        return z, h, w

    @property
    def depth(self) -> int:
        """Number of axial slices."""
        return self.shape[0]

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) float64: canonical index (z, h, w, 1) to RAS+ mm."""
        return self._grid().affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (z, h, w), mm."""
        return self._grid().spacing_mm

    @property
    def labelled(self) -> bool:
        """Whether the case has labels, be it of some organs only."""
        return bool(self.header.labelled)

    @property
    def label_voxels(self) -> np.ndarray | None:
        """int32 (Z, classes): voxels of each class in each slice; None for a case without labels."""
        return self._read("label_voxels") if self.labelled else None

    def hu(self, z: int) -> np.ndarray:
        """int16 (H, W) HU of slice z. Raises InputError when the store holds baked windows."""
        self._require_hu()
        return self._read("hu", z)

    def image(self, z: int, preset: WindowPreset) -> Tensor:
        """uint8 (C, H, W): slice z through the preset's windows. Raises InputError when others were baked."""
        import torch  # here alone: processes that only store cases go without its memory and start sooner

        from flarekit.data.windows import window_slices

        baked = self.header.baked
        if baked is None:
            return window_slices(torch.from_numpy(self.hu(z)), preset)
        if baked.ranges_hu != preset.ranges_hu:
            other = f"not {preset.name!r}" if preset.name != baked.name else "and baked ones can no longer be moved"
            raise InputError(
                f"was stored with the windows {baked.name!r}, {other}",
                where=self.path,
                remedy="Preprocess the cases again without --bake-windows, or leave the windows as they are.",
            )
        return torch.from_numpy(self._read("image", z))

    def labels_at(self, z: int) -> np.ndarray:
        """uint8 (H, W): classes of slice z, 255 where not known. Raises ValueError for a case without labels."""
        if not self.labelled:
            raise ValueError(f"{self.path.name} holds no labels")
        return self._read("labels", z)

    def volume(self) -> Volume:
        """The CT as int16 HU. Raises InputError when the store holds baked windows."""
        self._require_hu()
        return Volume(array=self._read("hu"), source=self.header.source, path=self.path)

    def label_volume(self) -> Volume | None:
        """The classes as uint8, 255 where not known; None for a case without labels."""
        if not self.labelled:
            return None
        return Volume(array=self._read("labels"), source=self.header.source, path=self.path)

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file, self._data = None, {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_data": {}}

    def _read(self, name: str, index: int | slice = slice(None)) -> np.ndarray:
        if self._file is None or self._process != os.getpid():
            self._file, self._data, self._process = _open(self.path), {}, os.getpid()
        try:
            if name not in self._data:
                self._data[name] = self._file[name]
            return self._data[name][index]
        except (OSError, KeyError, RuntimeError) as error:
            raise InputError(f"is damaged: {name!r} cannot be read", where=self.path, remedy=_AGAIN) from error

    def _read_header(self) -> CaseHeader:
        with _open(self.path) as file:
            try:
                header = CaseHeader.from_attributes(_attributes(file))
                _require_data(file, header)
            except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
                raise InputError(
                    f"is not a case of a slice store ({error})",
                    where=self.path,
                    remedy="Move it out of the store's folder, or preprocess the case again with --overwrite.",
                ) from error
            load_filter(file)
            return header

    def _grid(self) -> Volume:
        return Volume(array=np.broadcast_to(np.int16(0), self.shape), source=self.header.source)

    def _require_hu(self) -> None:
        if self.header.baked is not None:
            raise InputError(
                f"holds the baked windows {self.header.baked.name!r}, no HU",
                where=self.path,
                remedy="Preprocess the cases again without --bake-windows.",
            )


def _attributes(file: h5py.File) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}


def _require_data(file: h5py.File, header: CaseHeader) -> None:
    """Raises ValueError unless the file holds the data sets that its header speaks of."""
    z, h, w = header.source.reorientation.canonical_shape(header.source.shape)
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {}
    if header.baked is None:
        expected["hu"] = np.int16, (z, h, w)
    else:
        expected["image"] = np.uint8, (z, len(header.baked.ranges_hu), h, w)
    if header.labelled:
        expected["labels"] = np.uint8, (z, h, w)
        expected["label_voxels"] = np.int32, (z, header.label_set.classes)
    for name, (dtype, shape) in expected.items():
        data = file.get(name)
        if not isinstance(data, h5py.Dataset) or (data.dtype, data.shape) != (dtype, shape):
            raise ValueError(f"{name!r} is not {np.dtype(dtype)} of shape {shape}")


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(
            "cannot be opened as HDF5: it is missing, damaged, or cut short",
            where=path,
            remedy=_AGAIN,
        ) from error
