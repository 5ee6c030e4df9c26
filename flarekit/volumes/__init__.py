"""Volumes: read, written, and turned to the one orientation that slices are cut in."""

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
