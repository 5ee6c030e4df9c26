"""The endings of volume files."""

from __future__ import annotations

from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
METAIMAGE_SUFFIXES = (".mha", ".mhd")
SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES + METAIMAGE_SUFFIXES
DICOM_SUFFIXES = (".dcm", ".zip")  # DICOM files may have any name, and often have this one
SEGMENTATION_SUFFIX = ".dcm"  # of a DICOM-SEG that is written


def names_segmentation(path: Path) -> bool:
    """Whether the name is a DICOM-SEG's."""
    return path.name.lower().endswith(SEGMENTATION_SUFFIX)


def stem(path: Path) -> str:
    """The file's name without its volume suffix: case.nii.gz is case."""
    suffix = next((s for s in SUFFIXES + DICOM_SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]
