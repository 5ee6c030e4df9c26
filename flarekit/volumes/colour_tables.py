"""Colour tables of a label map for the two viewers that take them as files."""

from __future__ import annotations

from collections.abc import Sequence

from flarekit.volumes.naming import NamedLabel

_ITK_SNAP = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""
_SLICER = "# Color table file of a flarekit label map\n# {count} values\n0 background 0 0 0 0\n"


def itk_snap(labels: Sequence[NamedLabel]) -> str:
    """ITK-SNAP's label description file (Segmentation > Import Label Descriptions)."""
    return _ITK_SNAP + "".join(_itk_snap_line(label) for label in labels)


def slicer(labels: Sequence[NamedLabel]) -> str:
    """3D Slicer's colour table (.ctbl); a name is one word there."""
    lines = (f"{label.id} {'_'.join(label.name.split())} {_spaced(label)} 255\n" for label in labels)
    return _SLICER.format(count=len(labels) + 1) + "".join(lines)


def _itk_snap_line(label: NamedLabel) -> str:
    red, green, blue = label.colour
    name = " ".join(label.name.split()).replace('"', "'")
    return f'{label.id:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{name}"\n'


def _spaced(label: NamedLabel) -> str:
    return " ".join(map(str, label.colour))
