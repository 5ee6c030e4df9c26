"""Slice numbers as a file's viewer shows them: 0-based along the file's own axial axis, whichever way it runs.

Inside flarekit slice 0 is the lowest (`flarekit.volumes`). Files stored from head to feet count the other way.
"""

from __future__ import annotations

from flarekit.volumes import Volume


def number_in_file(volume: Volume, z: int) -> int:
    """The file's number of canonical slice z; applied to a number in the file, the canonical slice."""
    from_head = volume.source.reorientation.flips[0]
    return len(volume.array) - 1 - z if from_head else z
