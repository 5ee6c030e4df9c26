"""A folder of DICOM files: its one CT series, slices sorted by their position, whatever the files are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from flarekit.errors import InputError
from flarekit.volumes.itk import affine_of, array_view, silence, unreadable
from flarekit.volumes.raw import RawVolume

_MODALITY, _POSITION, _THICKNESS = "0008|0060", "0020|0032", "0018|0050"
_UNEVEN = 0.1  # slices may lie this part of their spacing away from even steps
_ONE_SERIES = "Put one CT series into a folder of its own."


def read_dicom(folder: Path) -> RawVolume:
    """The voxels (HU) and affine of the folder's one CT series; tilted gantries give a sheared affine.

    Segmentations and other objects beside the CT are passed over. Raises InputError when the folder holds no CT
    series, several, or one with a slice missing.
    """
    silence()
    files = _one_series(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(folder) from error
    return RawVolume(array=array_view(image), affine=_affine(image, reader, folder), owner=image)


def holds_dicom(folder: Path) -> bool:
    """Whether any file of the folder starts like DICOM."""
    return any(_is_dicom(file) for file in sorted(folder.iterdir()) if file.is_file())


def _one_series(folder: Path) -> tuple[str, ...]:
    series = {
        uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    }
    if not series:
        raise InputError("holds no DICOM image", where=folder, remedy="Check the path. " + _ONE_SERIES)
    modalities = {uid: _modality(files[0]) for uid, files in series.items()}
    cts = [uid for uid, modality in modalities.items() if modality == "CT"]
    if not cts:
        found = ", ".join(sorted(set(modalities.values())))
        raise InputError(f"holds no CT series, only {found}", where=folder, remedy=_ONE_SERIES)
    if len(cts) > 1:
        listed = ", ".join(f"{uid} ({len(series[uid])} files)" for uid in sorted(cts))
        raise InputError(f"holds {len(cts)} CT series: {listed}", where=folder, remedy=_ONE_SERIES)
    return series[cts[0]]


def _modality(file: str) -> str:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader.GetMetaData(_MODALITY).strip() if reader.HasMetaDataKey(_MODALITY) else "unknown"


def _affine(image: sitk.Image, reader: sitk.ImageSeriesReader, folder: Path) -> np.ndarray:
    files, depth = len(reader.GetFileNames()), image.GetDepth()
    if depth == 1:
        return _thick(affine_of(image), reader)
    if files < depth:  # one file with many frames, whose geometry ITK reads
        return affine_of(image)
    return _stacked(affine_of(image), _positions_mm(reader, files, folder), folder)


def _positions_mm(reader: sitk.ImageSeriesReader, files: int, folder: Path) -> np.ndarray:
    """(files, 3): where each slice's first voxel lies, in RAS (DICOM says it in LPS). Raises InputError."""
    if not all(reader.HasMetaDataKey(slice_, _POSITION) for slice_ in range(files)):
        raise InputError("has slices that do not say their position", where=folder, remedy="Export the series again.")
    return np.array([_numbers(reader, slice_, _POSITION) for slice_ in range(files)]) * (-1.0, -1.0, 1.0)


def _stacked(affine: np.ndarray, positions_mm: np.ndarray, folder: Path) -> np.ndarray:
    """`affine` with its third column taken from the slices' own positions. Raises InputError where one is missing."""
    step = (positions_mm[-1] - positions_mm[0]) / (len(positions_mm) - 1)
    steps = np.diff(positions_mm, axis=0)
    apart = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    if (apart > _UNEVEN * np.linalg.norm(step)).any():
        k = int(apart.argmax())
        raise InputError(
            f"has slices that are not evenly spaced: {np.linalg.norm(steps[k]):.2f} mm between slices {k} and "
            f"{k + 1}, {np.linalg.norm(np.median(steps, axis=0)):.2f} mm elsewhere",
            where=folder,
            remedy="A slice is missing or there twice: export the series again.",
        )
    affine = affine.copy()
    affine[:3, 2], affine[:3, 3] = step, positions_mm[0]
    return affine


def _thick(affine: np.ndarray, reader: sitk.ImageSeriesReader) -> np.ndarray:
    """`affine` of a single slice, which has no neighbour to tell its spacing, with the slice's thickness for it."""
    if not reader.HasMetaDataKey(0, _THICKNESS) or not reader.GetMetaData(0, _THICKNESS).strip():
        return affine
    affine = affine.copy()
    affine[:3, 2] *= _numbers(reader, 0, _THICKNESS)[0] / np.linalg.norm(affine[:3, 2])
    return affine


def _numbers(reader: sitk.ImageSeriesReader, slice_: int, tag: str) -> list[float]:
    return [float(number) for number in reader.GetMetaData(slice_, tag).split("\\")]


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"
