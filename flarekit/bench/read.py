"""Reading a NIfTI file, beside SimpleITK and nibabel, which give what is stored and check less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
import SimpleITK as sitk

from flarekit.bench.memory import peak_memory_bytes
from flarekit.bench.preprocess import decompress
from flarekit.bench.timing import timed
from flarekit.errors import InputError
from flarekit.volumes import read_volume
from flarekit.volumes.formats import NIFTI_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class ReadCost:
    """What one way to read a file costs."""

    reader: str
    read_s: float  # the middle of several runs
    peak_bytes: int | None  # memory that it takes at most; None where the system does not say


def bench_read(ct: Path, *, runs: int = 5) -> list[ReadCost]:
    """The cost of reading a .nii or .nii.gz file in each way, of decompressing it alone first.

    Raises InputError when it cannot be read or is no NIfTI file.
    """
    if not ct.name.lower().endswith(NIFTI_SUFFIXES):
        raise InputError("is no NIfTI file", where=ct, remedy="Give a .nii or .nii.gz file.")
    read_volume(ct)
    readers: dict[str, Callable[[Path], object]] = {
        "decompress alone": decompress,
        "flarekit, to HU": partial(read_volume, hu_offset=0),
        "SimpleITK, as stored": _read_by_itk,
        "nibabel, as stored": _read_by_nibabel,
    }
    with _alone(ct) as path:
        return [_cost(reader, work, path, runs) for reader, work in readers.items()]


def _cost(reader: str, work: Callable[[Path], object], path: Path, runs: int) -> ReadCost:
    read_s = timed(partial(work, path), runs=runs).median_s
    return ReadCost(reader=reader, read_s=read_s, peak_bytes=peak_memory_bytes(work, path))


@contextmanager
def _alone(ct: Path) -> Iterator[Path]:
    """The file under a name in a folder of its own: ITK reads ct.nii in place of a ct.nii.gz that lies beside it."""
    with TemporaryDirectory() as folder:
        alone = Path(folder) / ("ct.nii.gz" if ct.name.lower().endswith(".gz") else "ct.nii")
        alone.symlink_to(ct.resolve())
        yield alone


def _read_by_itk(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _read_by_nibabel(path: Path) -> np.ndarray:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    return np.asarray(image.dataobj)
