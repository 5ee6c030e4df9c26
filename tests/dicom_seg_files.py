"""Readers and sources of DICOM-SEG for tests: pydicom, and arithmetic, where flarekit has code of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dicom_files as make
import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset

Places = dict[tuple[float, ...], int]
FRAME_OF_REFERENCE = "1.2.7"


def write_series(folder: Path, **elements: object) -> Path:
    """`dicom_files.write_series` in a frame of reference, as the standard has it."""
    return make.write_series(folder, **({"FrameOfReferenceUID": FRAME_OF_REFERENCE} | elements))


def frames_of(ds: Dataset) -> np.ndarray:
    """bool (frames, rows, columns), unpacked by hand (PS3.5 8.1.1: single bits, lowest first, without gaps)."""
    shape = int(ds.NumberOfFrames), ds.Rows, ds.Columns
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    return bits[: np.prod(shape)].reshape(shape).astype(bool)


def places_in_segmentation(path: Path) -> Places:
    """Segment number of every voxel that has one, by its centre in RAS+ mm."""
    ds, found = pydicom.dcmread(path), {}
    shared = ds.SharedFunctionalGroupsSequence[0]
    along, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for mask, group in zip(frames_of(ds), ds.PerFrameFunctionalGroupsSequence, strict=True):
        first = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for row, column in np.argwhere(mask):
            lps = first + along * column_mm * column + down * row_mm * row
            key = rounded(lps * (-1, -1, 1))
            assert key not in found
            found[key] = number
    return found


def places_in_nifti(path: Path) -> Places:
    """The same of a label map, by nibabel."""
    image = nib.load(path)
    ids = np.asarray(image.dataobj)
    return {rounded((image.affine @ (*voxel, 1))[:3]): int(ids[tuple(voxel)]) for voxel in np.argwhere(ids)}


def rounded(place_mm: np.ndarray) -> tuple[float, ...]:
    return tuple(float(np.round(mm, 2)) + 0.0 for mm in place_mm)


def red_green_blue(cielab: Sequence[int]) -> list[float]:
    """sRGB, 0..255, of a colour as DICOM keeps it (PS3.3 C.10.7.1.1), by CIE 15 and IEC 61966-2-1 under D65."""
    lightness, a, b = cielab[0] / 655.35, cielab[1] / 257 - 128, cielab[2] / 257 - 128
    middle = (lightness + 16) / 116
    white = (0.95047, 1.0, 1.08883)
    parts = (middle + a / 500, middle, middle - b / 200)
    xyz = [w * (t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29)) for w, t in zip(white, parts, strict=True)]
    matrix = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    linear = np.clip(np.array(matrix) @ xyz, 0, 1)
    return [255 * float(12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055) for c in linear]


def write_scan(folder: Path, hu: np.ndarray, spacing_mm: tuple[float, float, float], **elements: object) -> Path:
    """A series of HU (Z, H, W) from the feet up, whose files are called from the head down."""
    for z, stored in enumerate(hu):
        given = {
            "FrameOfReferenceUID": FRAME_OF_REFERENCE,
            "PixelSpacing": list(spacing_mm[1:]),
            "ImagePositionPatient": [*make.ORIGIN_MM[:2], z * spacing_mm[0]],
        }
        make.save(make.ct_slice(stored, z, **(given | elements)), folder / f"IM{len(hu) - z:04d}.dcm")
    return folder
