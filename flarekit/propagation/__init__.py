"""The propagation module: annotated slices are the memory, every other slice of the volume is a query."""

from flarekit.propagation.fill import FilledSlice, fill_slices
from flarekit.propagation.propagate import SliceResult, propagate
from flarekit.propagation.ranges import filled_slices

__all__ = ["FilledSlice", "SliceResult", "fill_slices", "filled_slices", "propagate"]
