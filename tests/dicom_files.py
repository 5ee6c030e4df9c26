"""DICOM files to test on, written by pydicom: an implementation that flarekit does not use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)

SHAPE = (4, 5, 6)  # slices, rows, columns
ORIGIN_MM = (-20.0, -30.0, 100.0)  # LPS
STEP_MM = 2.5
SPACING_MM = (0.7, 0.8)  # between rows, between columns
ORDER = (2, 0, 3, 1)  # file names do not follow the positions
HU = np.random.default_rng(3).integers(-1000, 1000, SHAPE).astype(np.int16)


def empty(sop_class: str, **elements: Any) -> FileDataset:
    """A data set of that class with the given elements, by their keywords."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = elements.get("SOPInstanceUID", "1.2.3.4")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.StudyInstanceUID = sop_class, "1.2"
    ds.PatientName, ds.PatientID = "Secret^Name", "SECRET-ID"
    change(ds, **elements)
    return ds


def change(ds: Dataset, **elements: Any) -> Dataset:
    """Set elements by their keywords; None takes one away."""
    for keyword, value in elements.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def ct_slice(stored: np.ndarray, z: int, *, uid: str = "1.2.3", **elements: Any) -> FileDataset:
    """The z-th slice of a CT with these stored values (int16 or uint16), HU at slope 1 and intercept 0."""
    defaults = {
        "SOPInstanceUID": f"{uid}.{z + 1}",
        "SeriesInstanceUID": uid,
        "SeriesNumber": uid.rpartition(".")[2],
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [*ORIGIN_MM[:2], ORIGIN_MM[2] + z * STEP_MM],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": list(SPACING_MM),
        "SliceThickness": 5,
        "InstanceNumber": z + 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    ds = empty(CTImageStorage, **(describe(stored) | defaults | elements))
    ds["PixelData"].VR = "OW"
    return ds


def describe(stored: np.ndarray) -> dict[str, Any]:
    """The elements that describe stored values (rows, columns) or (frames, rows, columns), and these values."""
    bits = stored.dtype.itemsize * 8
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.tobytes(),
    }


def save(ds: FileDataset, path: Path, syntax: UID | None = None) -> Path:
    """Write the data set, in another of the uncompressed encodings if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path, *, hu: np.ndarray = HU, skip: Iterable[int] = (), prefix: str = "IM", **elements: Any
) -> Path:
    """A series of one file a slice, whose names do not follow the positions; elements may be functions of z."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, z in enumerate(ORDER):
        if z not in skip:
            given = {keyword: value(z) if callable(value) else value for keyword, value in elements.items()}
            save(ct_slice(hu[z], z, **given), folder / f"{prefix}{number:04d}.dcm")
    return folder


def enhanced_ct(stored: np.ndarray = HU, order: Iterable[int] = ORDER, **elements: Any) -> FileDataset:
    """An enhanced multi-frame CT, whose frames do not follow the positions; frame z has the intercept 10 z."""
    order = tuple(order)
    defaults = {
        "SOPInstanceUID": "1.2.9.1",
        "SeriesInstanceUID": "1.2.9",
        "Modality": "CT",
        "NumberOfFrames": len(order),
        "SharedFunctionalGroupsSequence": Sequence(
            [group(PlaneOrientationSequence=_plane(), PixelMeasuresSequence=_measures())]
        ),
        "PerFrameFunctionalGroupsSequence": Sequence([_frame(z) for z in order]),
    }
    return empty(EnhancedCTImageStorage, **(describe(stored[list(order)]) | defaults | elements))


def segmentation(masks: np.ndarray, levels: Iterable[int], numbers: Iterable[int], **elements: Any) -> FileDataset:
    """A binary DICOM-SEG: frame n shows segment `numbers[n]` as `masks[n]` on the CT's slice `levels[n]`."""
    numbers = tuple(numbers)
    frames = []
    for level, number in zip(levels, numbers, strict=True):
        identification = Sequence([change(Dataset(), ReferencedSegmentNumber=number)])
        frames.append(change(_frame(level), SegmentIdentificationSequence=identification))
    packed = np.packbits(masks.astype(bool).ravel(), bitorder="little").tobytes()
    defaults = describe(masks.astype(np.uint8)) | {
        "SOPInstanceUID": "1.2.8.1",
        "SeriesInstanceUID": "1.2.8",
        "Modality": "SEG",
        "NumberOfFrames": len(frames),
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 0,
        "PixelData": packed + bytes(len(packed) % 2),
        "SegmentationType": "BINARY",
        "SegmentSequence": Sequence([change(Dataset(), SegmentNumber=number) for number in sorted(set(numbers))]),
        "SharedFunctionalGroupsSequence": Sequence(
            [group(PlaneOrientationSequence=_plane(), PixelMeasuresSequence=_measures())]
        ),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
    }
    return empty(SegmentationStorage, **(defaults | elements))


def group(**items: Dataset) -> Dataset:
    """A functional group: each keyword a sequence of the one item."""
    return change(Dataset(), **{keyword: Sequence([item]) for keyword, item in items.items()})


def _plane() -> Dataset:
    return change(Dataset(), ImageOrientationPatient=[1, 0, 0, 0, 1, 0])


def _measures() -> Dataset:
    return change(Dataset(), PixelSpacing=list(SPACING_MM), SliceThickness=5)


def _frame(z: int) -> Dataset:
    position = change(Dataset(), ImagePositionPatient=[*ORIGIN_MM[:2], ORIGIN_MM[2] + z * STEP_MM])
    values = change(Dataset(), RescaleSlope=1, RescaleIntercept=10 * z)
    return group(PlanePositionSequence=position, PixelValueTransformationSequence=values)


def compressed(ds: FileDataset, kind: str, folder: Path) -> FileDataset:
    """The slice with its pixels as "RLE" (by pydicom), "JPEG" (lossless) or "JPEG2000" (both by GDCM)."""
    if kind == "RLE":
        ds.compress(RLELossless)
        return ds
    image = sitk.GetImageFromArray(ds.pixel_array[None])
    image.SetMetaData("0008|0060", "CT")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(kind)
    writer.SetFileName(str(folder / "compressed.dcm"))
    writer.Execute(image)
    written = pydicom.dcmread(folder / "compressed.dcm")
    (folder / "compressed.dcm").unlink()
    ds.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
    ds.PixelData = written.PixelData
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds
