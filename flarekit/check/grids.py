"""Whether a volume's grid is that of an abdominal CT, and the label map's the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flarekit.check.findings import ERROR, LABEL, NOTE, WARNING, Finding
from flarekit.check.stored import StoredVolume
from flarekit.volumes import Volume
from flarekit.volumes.geometry import GRID_TOLERANCE_VOXELS, gap_mm

FIXABLE_VOXELS = 1.0  # a label map further off its image may belong to another one

_THICK_MM, _COARSE_MM, _FINE_MM = 10.0, 3.5, 0.1
_FEWEST_PIXELS, _FEWEST_SLICES = 32, 5
_SHEAR_DEGREES = 0.5


def grid_findings(stored: StoredVolume, file: str) -> Iterator[Finding]:
    """What is odd about a file's grid, and what its reader warned of."""
    if stored.raw.stored_shape is not None:
        yield Finding(
            severity=NOTE, code="trailing-axis", file=file, repair="trailing axes of length 1 dropped",
            text=f"has shape {stored.raw.stored_shape}: read without the axes of length 1.",
        )  # fmt: skip
    for message in stored.warnings:
        yield Finding(severity=WARNING, code="reader", file=file, text=message)
    for code, text in oddities(stored.volume):
        yield Finding(severity=WARNING, code=code, file=file, text=text)


def pair_findings(image: Volume, label: Volume) -> Iterator[Finding]:
    """Errors where the label map does not lie on its image's grid."""
    if image.array.shape != label.array.shape:
        yield _geometry(
            f"image and label map have different shapes (Z, H, W): {image.array.shape} and {label.array.shape}."
        )
        return
    apart_mm, voxel_mm = gap_mm(image, label), min(image.spacing_mm)
    if apart_mm <= GRID_TOLERANCE_VOXELS * voxel_mm:
        return
    text = f"image and label map lie up to {apart_mm:.3g} mm apart, a voxel is {voxel_mm:.3g} mm."
    if apart_mm < FIXABLE_VOXELS * voxel_mm:
        yield _geometry(text, repair="the label map's geometry set to its image's")
    else:
        yield _geometry(f"{text} --fix mends less than {FIXABLE_VOXELS:g} voxel: check that they belong together.")


def oddities(volume: Volume) -> Iterator[tuple[str, str]]:
    """Code and sentence of everything odd about a grid."""
    (z, h, w), (depth, rows, columns) = volume.spacing_mm, volume.array.shape
    if z > _THICK_MM:
        yield "thick", f"slices lie {z:.3g} mm apart: more than {_THICK_MM:g} mm lose small organs."
    if max(h, w) > _COARSE_MM or min(z, h, w) < _FINE_MM:
        yield "spacing", f"pixels of {h:.3g} x {w:.3g} mm, slices {z:.3g} mm apart: is the unit millimetres?"
    if min(rows, columns) < _FEWEST_PIXELS or depth < _FEWEST_SLICES:
        yield "tiny", f"{depth} slices of {rows} x {columns} pixels: a crop?"
    if np.array_equal(np.abs(volume.source.affine), np.eye(4)):
        yield "no-geometry", "spacing 1 x 1 x 1 mm at the origin: the geometry was lost on the way here."
    if (shear := _shear_degrees(volume)) > _SHEAR_DEGREES:
        yield "sheared", f"its axes are {shear:.1f} degrees off a right angle: a tilted gantry?"


def _shear_degrees(volume: Volume) -> float:
    directions = volume.affine[:3, :3] / np.array(volume.spacing_mm)
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    return float(np.degrees(np.arcsin(min(1.0, cosines))))


def _geometry(text: str, repair: str = "") -> Finding:
    return Finding(severity=ERROR, code="geometry", text=text, file=LABEL, repair=repair)
