"""Compression of slice stores. Bitshuffle is a plugin of HDF5, loaded only where it is used."""

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
