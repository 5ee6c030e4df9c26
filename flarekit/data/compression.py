"""Compression of slice stores. Bitshuffle is a plugin of HDF5, loaded only where it is used.

What `flarekit --threads 1 bench store CT --slices 200 --reads 200` says of a contrast-enhanced CT (TCIA CPTAC-PDA
C3L-00189, 512 x 512 x 35, repeated), on a quiet AMD EPYC with two cores. Rates are random slices a second, windowed
ones uint8 (3, 512, 512); chunks hold one slice unless the row says otherwise. Loaders collate batches, and hand them
from process to process where they have workers: with slices that are read this fast, workers cost more than they bring.

| layout | write, s | size / int16 | read /s | windowed /s | loader, 0 workers /s | 2 workers /s |
| --- | --- | --- | --- | --- | --- | --- |
| none | 0.18 | 1.00 | 14504 | 1742 | 1293 | 887 |
| gzip 4, shuffle | 1.76 | 0.41 | 506 | 400 | 387 | 515 |
| lzf, shuffle | 0.68 | 0.47 | 753 | 542 | 521 | 632 |
| lz4 | 0.28 | 0.74 | 6129 | 1471 | 1248 | 971 |
| zstd 3, shuffle | 0.39 | 0.42 | 1725 | 908 | 846 | 777 |
| blosc2 lz4, bitshuffle | 0.29 | 0.51 | 2881 | 1137 | 1025 | 893 |
| bitshuffle-zstd | 0.62 | 0.44 | 851 | 593 | 574 | 654 |
| bitshuffle-lz4 | 0.24 | 0.48 | 3106 | 1241 | 1087 | 865 |
| bitshuffle-lz4, 4 slices a chunk | 0.27 | 0.48 | 843 | 569 | 552 | 678 |
| bitshuffle-lz4, half slices | 0.25 | 0.48 | 3098 | 1206 | 1034 | 944 |
| bitshuffle-lz4, fletcher32 | 0.27 | 0.48 | 2440 | 1127 | 917 | 833 |
| flarekit's store | 0.30 | 0.48 | 2434 | 1116 | 947 | 786 |

Padding outside the scanner's circle compresses to nothing: a CT without any takes more than this one. Bitshuffle with
LZ4 is the fastest to read of those that halve the size, and one slice a chunk beats more (they are decompressed for
nothing) and less. The store itself adds checksums: 0.06 s for the 200 slices, 0.1 ms a slice to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py

from flarekit.errors import MissingDependency, UsageError

_BITSHUFFLE_ID = 32008  # the number the HDF Group gave the filter

DEFAULT = "bitshuffle-lz4"


def _bitshuffle_lz4() -> dict[str, Any]:
    return dict(_plugin().Bitshuffle(cname="lz4"))


def _bitshuffle_zstd() -> dict[str, Any]:
    return dict(_plugin().Bitshuffle(cname="zstd", clevel=3))


COMPRESSIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "bitshuffle-lz4": _bitshuffle_lz4,  # fastest to write and to read
    "bitshuffle-zstd": _bitshuffle_zstd,  # a tenth smaller, slower
    "gzip": lambda: {"compression": "gzip", "compression_opts": 4, "shuffle": True},  # any HDF5 reads it
    "none": dict,
}


def filter_of(compression: str) -> dict[str, Any]:
    """The arguments of `h5py.Group.create_dataset`. Raises UsageError or MissingDependency."""
    if compression not in COMPRESSIONS:
        raise UsageError(f"unknown compression {compression!r}", remedy=f"Known: {', '.join(COMPRESSIONS)}.")
    return COMPRESSIONS[compression]()


def load_filter(file: h5py.File) -> None:
    """Make what `file` is compressed with readable. Raises MissingDependency when its plugin is not installed."""
    for data in file.values():
        if isinstance(data, h5py.Dataset) and data.id.get_create_plist().get_filter_by_id(_BITSHUFFLE_ID) is not None:
            _plugin()


def _plugin() -> Any:
    try:
        import hdf5plugin
    except ImportError as error:
        raise MissingDependency(
            "bitshuffle compression needs hdf5plugin", remedy="Install hdf5plugin, or write with gzip."
        ) from error
    return hdf5plugin
