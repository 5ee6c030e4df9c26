"""Volumes: read, written, and turned to the one orientation that slices are cut in.

Names are imported when they are asked for: a training on slice stores needs none of the packages that read files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flarekit.volumes.geometry import require_same_grid
    from flarekit.volumes.maps import write_map
    from flarekit.volumes.reading import read_labels, read_volume
    from flarekit.volumes.volume import SourceGrid, Volume
    from flarekit.volumes.writing import write_labels, write_volume

__all__ = [
    "SourceGrid",
    "Volume",
    "read_labels",
    "read_volume",
    "require_same_grid",
    "write_labels",
    "write_map",
    "write_volume",
]

_MODULES = {
    "SourceGrid": "volume",
    "Volume": "volume",
    "read_labels": "reading",
    "read_volume": "reading",
    "require_same_grid": "geometry",
    "write_labels": "writing",
    "write_map": "maps",
    "write_volume": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
