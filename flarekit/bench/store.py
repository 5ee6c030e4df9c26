"""What a slice store's compression and chunks cost: written, kept and read by hand, then as the store itself does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flarekit.bench.timing import middle_per_s, timed
from flarekit.config.preprocessing import WINDOWS
from flarekit.data.case_file import StoredCase
from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import write_case
from flarekit.data.compression import DEFAULT, filter_of
from flarekit.data.windows import window_slices
from flarekit.files import atomic_path
from flarekit.labels import FLARE22
from flarekit.volumes import Volume, read_volume

_PRESET = WINDOWS["paper"]
_BATCH = 8
_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay voxels out in a file."""

    name: str
    filters: dict[str, Any] = field(default_factory=dict)  # arguments of h5py's create_dataset
    slices: int = 1  # in a chunk
    parts: int = 1  # that a chunk's rows are cut into


@dataclass(frozen=True, kw_only=True)
class StoreCost:
    """What one layout costs, for the slices of one CT.

    Whole passes are the fastest of several and single slices the middle one, as machines are shared.
    """

    layout: str
    write_s: float  # all slices: compressed and on disk
    size: float  # of the file, relative to raw int16
    read_per_s: float  # random slices of HU, one process
    windowed_per_s: float  # the same with the windows applied: uint8 (3, H, W)
    loader_per_s: dict[int, float]  # windowed slices of a shuffling DataLoader by its number of workers

    @property
    def rates_per_s(self) -> tuple[float, ...]:
        """Slices a second in every way they were read."""
        return self.read_per_s, self.windowed_per_s, *self.loader_per_s.values()


def layouts() -> list[Layout]:
    """Every filter that HDF5 or hdf5plugin offers for int16, then other chunks and checksums for the default."""
    chosen = filter_of(DEFAULT)
    return [
        Layout(name="none"),
        Layout(name="gzip 4, shuffle", filters=filter_of("gzip")),
        Layout(name="lzf, shuffle", filters={"compression": "lzf", "shuffle": True}),
        Layout(name="lz4", filters=dict(hdf5plugin.LZ4())),
        Layout(name="zstd 3, shuffle", filters=dict(hdf5plugin.Zstd(clevel=3)) | {"shuffle": True}),
        Layout(name="blosc2 lz4, bitshuffle", filters=dict(hdf5plugin.Blosc2(cname="lz4", filters=2))),
        Layout(name="bitshuffle-zstd", filters=filter_of("bitshuffle-zstd")),
        Layout(name="bitshuffle-lz4", filters=chosen),
        Layout(name="bitshuffle-lz4, 4 slices a chunk", filters=chosen, slices=4),
        Layout(name="bitshuffle-lz4, half slices", filters=chosen, parts=2),
        Layout(name="bitshuffle-lz4, fletcher32", filters=chosen | {"fletcher32": True}),
    ]


def bench_store(ct: Path, *, slices: int, reads: int, workers: tuple[int, ...] = (0, 2)) -> Iterator[StoreCost]:
    """The cost of every layout, and of the store itself last, for a CT repeated to so many slices.

    Raises InputError when the CT cannot be read.
    """
    volume = repeated(read_volume(ct), slices)
    order = np.random.default_rng(0).integers(0, slices, reads).tolist()
    with TemporaryDirectory() as folder:
        for number, layout in enumerate(layouts()):
            made = HandMade(Path(folder) / f"{number}.h5")
            write_s = _fastest_s(partial(_write, made.path, layout, volume.array))
            yield _cost(layout.name, made, write_s, order, workers, volume.array.nbytes)
        stored = Stored(Path(folder) / "case.h5")
        write_s = _fastest_s(partial(_write_case, stored.path, volume))
        yield _cost("flarekit's store", stored, write_s, order, workers, volume.array.nbytes)


def repeated(volume: Volume, slices: int) -> Volume:
    """The volume's slices over and over, until there are so many."""
    array = np.ascontiguousarray(volume.array[np.arange(slices) % len(volume.array)])
    z_mm, h_mm, w_mm = volume.spacing_mm
    return Volume.from_source(array.transpose(2, 1, 0), np.diag([-w_mm, -h_mm, z_mm, 1.0]))


class HandMade(Dataset[Tensor]):
    """Windowed slices of a file that `_write` wrote; opened on first use, so that it pickles and forks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hu: h5py.Dataset | None = None

    def hu(self, z: int) -> np.ndarray:
        """int16 (H, W) of slice z."""
        if self._hu is None:
            self._hu = h5py.File(self.path, "r", locking=False)["hu"]
        return self._hu[z]

    def __getitem__(self, z: int) -> Tensor:
        return window_slices(torch.from_numpy(self.hu(z)), _PRESET)

    def close(self) -> None:
        """Before processes are forked."""
        if self._hu is not None:
            self._hu.file.close()
        self._hu = None


class Stored(Dataset[Tensor]):
    """Windowed slices of a case as training reads them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def case(self) -> StoredCase:
        """The case, once it is written."""
        return StoredCase(self.path)

    def hu(self, z: int) -> np.ndarray:
        """int16 (H, W) of slice z."""
        return self.case.hu(z)

    def __getitem__(self, z: int) -> Tensor:
        return self.case.image(z, _PRESET)

    def close(self) -> None:
        """Before processes are forked."""
        self.case.close()


def _write(path: Path, layout: Layout, hu: np.ndarray) -> None:
    depth, rows, columns = hu.shape
    chunks = (min(layout.slices, depth), -(-rows // layout.parts), columns)
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("hu", data=hu, chunks=chunks, **layout.filters)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(content.getbuffer())


def _write_case(path: Path, volume: Volume) -> None:
    header = CaseHeader(name="case", source=volume.source, source_name="ct", source_sha256="", label_set=FLARE22)
    write_case(path, header, volume.array, compression=DEFAULT, overwrite=True)


def _cost(
    name: str, slices: HandMade | Stored, write_s: float, order: list[int], workers: tuple[int, ...], raw_bytes: int
) -> StoreCost:
    read_per_s, windowed_per_s = middle_per_s(slices.hu, order), middle_per_s(slices.__getitem__, order)
    slices.close()
    return StoreCost(
        layout=name,
        write_s=write_s,
        size=slices.path.stat().st_size / raw_bytes,
        read_per_s=read_per_s,
        windowed_per_s=windowed_per_s,
        loader_per_s={number: _loaded_per_s(slices, order, number) for number in workers},
    )


def _loaded_per_s(slices: HandMade | Stored, order: list[int], workers: int) -> float:
    """From the first batch on: starting the workers is not reading."""
    loader = DataLoader(slices, _BATCH, sampler=order, num_workers=workers)
    elapsed_s = min(_rest_s(iter(loader)) for _ in range(_RUNS))
    slices.close()
    return (len(order) - _BATCH) / elapsed_s


def _rest_s(batches: Iterator[Tensor]) -> float:
    next(batches)
    return timed(lambda: [len(batch) for batch in batches], runs=1, warmup=0).fastest_s


def _fastest_s(work: Callable[[], object]) -> float:
    return timed(work, runs=_RUNS, warmup=0).fastest_s
