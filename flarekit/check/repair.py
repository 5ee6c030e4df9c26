"""Copies of a data set in which what can be mended is mended; the originals stay as they are."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flarekit.check.case import CaseReport
from flarekit.check.dataset import DatasetReport
from flarekit.check.findings import ERROR, IMAGE, LABEL
from flarekit.check.inventory import Entry, Inventory
from flarekit.check.label_ids import Naming, read_ids
from flarekit.check.stored import StoredVolume, read_image, read_label, scaled
from flarekit.errors import OutputError
from flarekit.files import atomic_folder, atomic_path, output_errors
from flarekit.volumes import Volume, write_labels, write_volume
from flarekit.volumes.companions import files_of
from flarekit.volumes.formats import stem
from flarekit.volumes.hu import SCANNER_OFFSET, take_off
from flarekit.volumes.values import to_hu

_AIR_HU = -1024
_COPIED_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")  # others are written as .nii.gz


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A file that was written otherwise than it was found."""

    case: str
    file: str  # image or label
    done: tuple[str, ...]  # what was done about it


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """What became of a data set."""

    repaired: tuple[Repair, ...]
    copied: int  # cases that needed nothing
    left_out: tuple[str, ...]  # cases with an error that cannot be mended here


def repair_dataset(report: DatasetReport, output: Path) -> RepairReport:
    """Write a copy of a checked data set, in its own layout, with everything mended that --fix mends.

    Cases with another error are left out; files that need nothing are copied as they are. A CT that is mended is
    stored as int16 HU. The folder appears when all is in it: a run that is stopped leaves none.
    Raises OutputError when the folder holds something already, lies in the data set, or cannot be written, and where
    two files would be one in it.
    """
    _require_new(output, report.inventory)
    pairs = list(zip(report.inventory.entries, report.cases, strict=True))
    sound = [(entry, case) for entry, case in pairs if not _is_hopeless(case)]
    _require_apart([entry for entry, _ in sound], report.inventory, output)
    with atomic_folder(output) as folder:
        for description, root in report.inventory.descriptions:
            _copy(description, folder / description.relative_to(root))
        shown = tqdm(sound, desc="repair", unit="case", disable=None, leave=False)
        repaired = [repair for entry, case in shown for repair in _repair(entry, case, report.inventory.naming, folder)]
    return RepairReport(
        repaired=tuple(repaired),
        copied=len({case.name for _, case in sound} - {repair.case for repair in repaired}),
        left_out=tuple(case.name for _, case in pairs if _is_hopeless(case)),
    )


def _is_hopeless(case: CaseReport) -> bool:
    return any(finding.severity == ERROR and not finding.repair for finding in case.findings)


def _repair(entry: Entry, case: CaseReport, naming: Naming | None, output: Path) -> Iterator[Repair]:
    for file, path in ((IMAGE, entry.image), (LABEL, entry.label)):
        if path is None:
            continue
        wanted = {finding.code: finding.repair for finding in case.findings if finding.file == file and finding.repair}
        target = entry.copy_in(output, path)
        if not wanted:
            for part in files_of(path):
                _copy(part, target.with_name(part.name))
            continue
        if file == IMAGE:
            _write_image(path, target, wanted.keys())
        else:
            _write_label(entry, target, wanted.keys(), naming)
        yield Repair(case=case.name, file=file, done=tuple(wanted.values()))


def _write_image(path: Path, target: Path, codes: Collection[str]) -> None:
    stored = read_image(path)
    array, raw = stored.volume.array, stored.raw
    if "nan" in codes:
        air = _AIR_HU + (SCANNER_OFFSET if "offset" in codes else 0)
        array, raw = _without_nan(stored, air), replace(raw, slope=1.0, intercept=0.0)
    hu = to_hu(array, raw, path)
    if "offset" in codes:
        take_off(hu, SCANNER_OFFSET)
    write_volume(_writable(target), stored.volume.like(hu))


def _without_nan(stored: StoredVolume, air: int) -> np.ndarray:
    """float32 values with `air` in place of what is no number."""
    array = np.empty(stored.volume.array.shape, dtype=np.float32)
    for z, plane in enumerate(stored.volume.array):
        array[z] = np.nan_to_num(scaled(plane, stored.raw), nan=air, posinf=air, neginf=air)
    return array


def _write_label(entry: Entry, target: Path, codes: Collection[str], naming: Naming | None) -> None:
    assert entry.label is not None
    image = read_image(entry.image) if entry.image is not None else None
    stored = read_label(entry.label, image)
    ids = read_ids(stored)
    if "renumber" in codes and naming is not None:
        ids = _renumbered(ids, naming)
    volume: Volume = stored.volume
    if "geometry" in codes and image is not None:
        volume = image.volume
    write_labels(_writable(target), volume.like(_narrowed(ids)))


def _renumbered(ids: np.ndarray, naming: Naming) -> np.ndarray:
    result = ids.astype(np.int32)
    for old, new in naming.renumber.items():
        result[ids == old] = new
    return result


def _narrowed(ids: np.ndarray) -> np.ndarray:
    kind = np.uint8 if ids.max(initial=0) < 256 else np.uint16 if ids.max() < 65536 else np.int32
    return ids.astype(kind) if ids.min(initial=0) >= 0 else ids


def _writable(target: Path) -> Path:
    """The target with an ending that can be written: a folder of DICOM becomes a .nii.gz."""
    if target.name.lower().endswith(_COPIED_SUFFIXES):
        return target
    return target.with_name(stem(target) + ".nii.gz")


def _copy(path: Path, target: Path) -> None:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                _copy(file, target / file.relative_to(path))
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)


def _require_new(output: Path, inventory: Inventory) -> None:
    """Makes way for the folder where it is there and empty. Raises OutputError."""
    with output_errors(output):
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise OutputError("exists already", where=output, remedy="Name a new folder: nothing is replaced.")
        if any(output.resolve().is_relative_to(folder.resolve()) for folder in inventory.folders):
            raise OutputError("lies in the data set", where=output, remedy="Name a new folder beside it.")
        if output.is_dir():
            output.rmdir()


def _require_apart(entries: list[Entry], inventory: Inventory, output: Path) -> None:
    """Raises OutputError where two data sets of one name, say, would be mixed."""
    targets = [entry.copy_in(output, path) for entry in entries for path in (entry.image, entry.label) if path]
    targets += [output / file.relative_to(root) for file, root in inventory.descriptions]
    if twice := [target for target, number in Counter(targets).items() if number > 1]:
        raise OutputError("would be written twice", where=twice[0], remedy="Mend the data sets one by one.")
