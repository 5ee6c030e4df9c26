"""Reads thousands of damaged DICOM files, as a process of its own: `python dicom_mutations.py FOLDER COUNT SEED`.

Whatever is not flarekit's own error, a crash included, ends it with another exit status than 0.
"""

from __future__ import annotations

import collections
import faulthandler
import resource
import struct
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from dicom_files import compressed, ct_slice, enhanced_ct, group, save, segmentation, write_series
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from flarekit.errors import FlarekitError
from flarekit.volumes import Volume, read_volume
from flarekit.volumes.dicom import read_dicom, read_dicom_labels

ROOM_BYTES = 600 << 20  # beside what the process takes before it begins
HEADER_BYTES = 1500  # where most of the flips go: what a reader may trip over
TAGS = {"Rows": 0x10, "Columns": 0x11, "BitsAllocated": 0x100, "BitsStored": 0x101, "HighBit": 0x102}


def seeds(folder: Path) -> dict[str, bytes]:
    """One whole file of every kind, by name."""
    values = np.random.default_rng(1).integers(-900, 900, (24, 20)).astype(np.int16)
    files = {"plain": ct_slice(values, 0), "enhanced": enhanced_ct()}
    for kind in ("RLE", "JPEG", "JPEG2000"):
        files[kind] = compressed(ct_slice(values, 0), kind, folder)
    files["segmentation"] = segmentation_naming_slices()
    contents = {name: save(ds, folder / name).read_bytes() for name, ds in files.items()}
    for name, syntax in (("implicit", ImplicitVRLittleEndian), ("big", ExplicitVRBigEndian)):
        ds = ct_slice(values.astype(">i2") if name == "big" else values, 0)
        contents[name] = save(ds, folder / name, syntax).read_bytes()
    with zipfile.ZipFile(folder / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/IM1", contents["plain"])
    return contents | {"zip": (folder / "zip").read_bytes()}


def segmentation_naming_slices() -> FileDataset:
    """One whose frames name slices of the CT that it is read on."""
    seg = segmentation(np.ones((3, 5, 6)), (0, 1, 2), (1, 1, 2))
    for number, frame in enumerate(seg.PerFrameFunctionalGroupsSequence, 1):
        source = Dataset()
        source.ReferencedSOPInstanceUID = f"1.2.3.{number}"
        frame.update(group(DerivationImageSequence=group(SourceImageSequence=source)))
    return seg


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, with flipped bytes, absurd numbers, or a piece moved."""
    data, kind = bytearray(content), int(rng.integers(6))
    if kind == 0:
        return bytes(data[: int(rng.integers(len(data)))])
    if kind == 1:  # an absurd value of an element that describes the pixels
        tag = struct.pack("<HH", 0x28, int(rng.choice(list(TAGS.values()))))
        at = data.find(tag)
        value = int(rng.choice([0, 1, 7, 12, 255, 4096, 32767, 65535]))
        if at > 0:
            data[at + 8 : at + 10] = struct.pack("<H", value)
        return bytes(data)
    if kind == 2:  # an absurd length somewhere
        at = int(rng.integers(132, len(data) - 4))
        data[at : at + 4] = struct.pack("<I", int(rng.choice([0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0, 0xFFFFFFFE])))
        return bytes(data)
    if kind == 3:
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
        piece, to = data[start : start + length], int(rng.integers(len(data)))
        return bytes(data[:to] + piece + data[to:])
    end = min(len(data), HEADER_BYTES) if kind == 4 else len(data)
    for at in rng.integers(132, max(end, 133), int(rng.integers(1, 12))):
        data[min(int(at), len(data) - 1)] = int(rng.integers(256))
    return bytes(data)


def attempt(path: Path, ct: Volume) -> str:
    """What came of reading the file as a CT, as labels, and as labels of a CT."""
    outcomes = []
    on_ct = partial(read_dicom_labels, like=ct)
    for read, target in ((read_dicom, path if path.suffix else path.parent), (read_dicom_labels, path), (on_ct, path)):
        try:
            read(target)
            outcomes.append("read")
        except FlarekitError:
            outcomes.append("refused")
    return " ".join(outcomes)


def main(folder: Path, count: int, seed: int) -> None:
    """Read `count` mutations of every kind of file and print how often what came of it."""
    faulthandler.enable()
    contents, ct = seeds(folder), read_volume(write_series(folder / "ct"))
    scratch = folder / "scratch"
    scratch.mkdir()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, taken + ROOM_BYTES))
    for name, content in contents.items():
        path = scratch / ("file.zip" if name == "zip" else "file")
        tally: collections.Counter[str] = collections.Counter()
        for number in range(count):
            rng = np.random.default_rng((seed, number, len(content)))
            path.write_bytes(mutated(content, rng))
            tally[attempt(path, ct)] += 1
        path.unlink()
        print(name, dict(tally), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
