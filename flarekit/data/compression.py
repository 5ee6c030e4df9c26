"""Compression of slice stores. Bitshuffle is a plugin of HDF5, loaded only where it is used.

What `flarekit --threads 1 bench store CT --slices 200 --reads 200` says of a contrast-enhanced CT (TCIA CPTAC-PDA
C3L-00189, 512 x 512 x 35, repeated), the best of two runs. Rates are random slices a second, windowed ones uint8
(3, 512, 512); chunks hold one slice unless the row says otherwise. The two cores of the AMD EPYC were shared with much
other work, which lengthens whole passes two- to threefold: times to write and the loaders' rates compare rows, no more.

| layout | write, s | size / int16 | read /s | windowed /s | loader, 0 workers /s | 2 workers /s |
| --- | --- | --- | --- | --- | --- | --- |
| none | 0.38 | 1.00 | 11584 | 1534 | 497 | 228 |
| gzip 4, shuffle | 4.52 | 0.41 | 447 | 144 | 179 | 115 |
| lzf, shuffle | 2.14 | 0.47 | 705 | 163 | 188 | 112 |
| lz4 | 0.71 | 0.74 | 5677 | 1237 | 377 | 231 |
| zstd 3, shuffle | 1.37 | 0.42 | 1593 | 663 | 359 | 206 |
| blosc2 lz4, bitshuffle | 0.43 | 0.51 | 2787 | 991 | 418 | 256 |
| bitshuffle-zstd | 1.24 | 0.44 | 845 | 579 | 277 | 213 |
| bitshuffle-lz4 | 0.47 | 0.48 | 3018 | 1116 | 452 | 260 |
| bitshuffle-lz4, 4 slices a chunk | 0.51 | 0.48 | 784 | 453 | 237 | 159 |
| bitshuffle-lz4, half slices | 0.48 | 0.48 | 2968 | 1061 | 426 | 159 |
| bitshuffle-lz4, fletcher32 | 0.69 | 0.48 | 2335 | 675 | 395 | 312 |
| flarekit's store | 0.89 | 0.48 | 2347 | 982 | 274 | 241 |

Padding outside the scanner's circle compresses to nothing: a CT without any takes more than this one. Bitshuffle with
LZ4 is the fastest to read of those that halve the size, and one slice a chunk beats more (they are decompressed for
nothing) and less. The store itself adds checksums: 0.29 s of CPU time for the 200 slices, 0.1 ms a slice to read.
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
    "bitshuffle-zstd": _bitshuffle_zstd,  # smallest
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
