"""Volumes: read, written, and turned to the one orientation that slices are cut in."""

from flarekit.volumes.volume import SourceGrid, Volume

__all__ = ["SourceGrid", "Volume"]
