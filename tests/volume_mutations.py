"""Broken copies of volume files, read in a process of its own: run by test_volumes_mutations.py.

`python volume_mutations.py FOLDER COUNT` reads COUNT mutants of every sample within a narrow limit of memory and of
time, and prints a JSON object of what became of them. A crash, a balloon, a hang or a wrong volume ends it.
"""

from __future__ import annotations

import faulthandler
import gzip
import json
import logging
import resource
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from flarekit.errors import FlarekitError
from flarekit.volumes import read_labels, read_volume

SAMPLES = ("plain.nii", "plain.nii.gz", "two.nii.gz", "raw.nrrd", "packed.nrrd", "raw.mha", "packed.mha", "raw.mhd",
           "packed.mhd")  # fmt: skip
HU = np.random.default_rng(5).integers(-1000, 1000, (6, 5, 7)).astype(np.int16)  # (K, J, I)
SPARE_BYTES = 64 << 20  # of address space beyond what the libraries took: a sample's voxels are 420 bytes
LIMIT_S, EVERY = 20, 100  # seconds for so many mutants, which take a tenth of one
INTEGERS = (0, 1, 2, 3, 7, 8, 352, -1, -4, 255, 32767, -32768, 2**31 - 1, -(2**31), 2**31, 2**32, 2**62)
NUMBERS = ("nan", "inf", "-inf", "0", "-1", "1e-320", "1e308", "1e400", "9" * 400, "", "x", "١", "1_0", "0x10")
WORDS = ("LIST", "LOCAL", "/dev/zero", "../secret.raw", ".", "..", "%d.raw 1 9 1", "none", "bzip2", "hex", "ascii",
         "gzip", "raw", "True", "False", "MET_SHORT_ARRAY", "MET_DOUBLE", "MET_STRING", "block", "double", "uint64",
         "big", "left-posterior-superior", "4", "7 7", "1 1 1 1 1 1 1", "(1,0,0) (0,1,0)", "(nan,0,0) none (0,0,1)",
         "512 512 300", "2147483648 2147483648 2147483648", "-5 7 6", "0 7 6", "\0", "é" * 300)  # fmt: skip
# Offset, struct code: dim, datatype, bitpix, pixdim, vox_offset, slope, intercept, codes, quaternion, sform, magic.
NIFTI_FIELDS = (
    *((40 + 2 * n, "h") for n in range(8)), (70, "h"), (72, "h"), *((76 + 4 * n, "f") for n in range(8)), (108, "f"),
    (112, "f"), (116, "f"), (123, "B"), (252, "h"), (254, "h"), *((256 + 4 * n, "f") for n in range(18)), (344, "i"),
    (0, "i"), (348, "i"),
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A broken file."""

    content: bytes
    header_stands: bool = False  # only packed bytes were touched: it reads as the sample or is refused


def write_sample(folder: Path, name: str) -> Path:
    """Write a volume as `name` says; returns the file that holds the header."""
    path = folder / name
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((0.8, 0.9, 2.5))
    if name == "two.nii.gz":
        nibabel.save(nibabel.Nifti2Image(HU.T, np.diag([0.8, 0.9, 2.5, 1.0])), path)
    else:
        sitk.WriteImage(image, str(path), useCompression=name.startswith("packed") or name.endswith(".gz"))
    return path


def mutant(whole: bytes, name: str, number: int) -> Mutant:
    """The broken copy of that number: the same for the same number."""
    rng = np.random.default_rng((11, SAMPLES.index(name), number))
    if name.endswith((".nii", ".gz")):
        return _nifti_mutant(whole, name, rng)
    ways = (_cut, _flipped, _spliced, _text_field, _text_field, _text_field, _text_line)
    if name.startswith("packed") and not name.endswith(".mhd") and rng.integers(4) == 0:
        return Mutant(_flipped(whole, rng, first=_text_bytes(whole)), header_stands=True)
    return Mutant(ways[rng.integers(len(ways))](whole, rng))


def _nifti_mutant(whole: bytes, name: str, rng: np.random.Generator) -> Mutant:
    if name.endswith(".gz"):
        if rng.integers(3) == 0:
            return Mutant(_flipped(whole, rng) if rng.integers(2) else _cut(whole, rng), header_stands=True)
        return Mutant(gzip.compress(_nifti_header_mutant(gzip.decompress(whole), rng), 1))
    return Mutant(_nifti_header_mutant(whole, rng))


def _nifti_header_mutant(whole: bytes, rng: np.random.Generator) -> bytes:
    way = rng.integers(6)
    if way < 3:
        return (_cut, _flipped, _spliced)[way](whole, rng)
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        offset, code = NIFTI_FIELDS[rng.integers(len(NIFTI_FIELDS))]
        struct.pack_into("<" + code, content, offset, _fitting(code, rng))
    return bytes(content)


def _fitting(code: str, rng: np.random.Generator) -> float:
    if code == "f":
        return float(rng.choice([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-38, 3e38, 1.5, 348.0, 353.0, 1e9, 2.0**31]))
    if code == "B":
        return int(rng.integers(256))
    most = 2 ** (8 * struct.calcsize(code) - 1)
    return int(rng.choice([number for number in INTEGERS if -most <= number < most]))


def _cut(whole: bytes, rng: np.random.Generator) -> bytes:
    return whole[: rng.integers(len(whole))]


def _flipped(whole: bytes, rng: np.random.Generator, first: int = 0) -> bytes:
    content = bytearray(whole)
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(first, len(content))] ^= int(rng.integers(1, 256))
    return bytes(content)


def _spliced(whole: bytes, rng: np.random.Generator) -> bytes:
    """Bytes taken out, and others put in."""
    a, b = sorted(rng.integers(len(whole), size=2))
    return whole[:a] + rng.bytes(int(rng.integers(40))) + whole[max(a, b - int(rng.integers(40))) :]


def _text_bytes(whole: bytes) -> int:
    """Where a text header ends."""
    end = b"\n\n" if whole.startswith(b"NRRD") else b"LOCAL\n"
    return whole.index(end) + len(end) if end in whole else len(whole)


def _text_field(whole: bytes, rng: np.random.Generator) -> bytes:
    """One word, or all, of a field's value replaced by nonsense."""
    lines, rest = whole[: _text_bytes(whole)].split(b"\n"), whole[_text_bytes(whole) :]
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(len(lines)))
        name, separator, value = lines[at].partition(b": " if whole.startswith(b"NRRD") else b" = ")
        words = value.split(b" ")
        words[rng.integers(len(words))] = _nonsense(rng)
        lines[at] = name + separator + (b" ".join(words) if rng.integers(2) else _nonsense(rng))
    return b"\n".join(lines) + rest


def _text_line(whole: bytes, rng: np.random.Generator) -> bytes:
    """A line left out, doubled, or made up."""
    lines, rest = whole[: _text_bytes(whole)].split(b"\n"), whole[_text_bytes(whole) :]
    at, other = rng.integers(len(lines), size=2)
    made_up = rng.choice(["data file: ", "byte skip: ", "line skip: ", "HeaderSize = ", "NDims = ", "dimension: "])
    lines[at : at + rng.integers(2)] = ([], [lines[other]], [str(made_up).encode() + _nonsense(rng)])[rng.integers(3)]
    return b"\n".join(lines) + rest


def _nonsense(rng: np.random.Generator) -> bytes:
    pool = (*map(str, INTEGERS), *NUMBERS, *WORDS)
    return pool[rng.integers(len(pool))].encode()


def outcome_of(path: Path, broken: Mutant, number: int) -> str:
    """What reading a mutant came to. Any error but flarekit's own goes through."""
    path.write_bytes(broken.content)
    read = read_labels if number % 4 == 0 else read_volume
    try:
        volume = read(path)
    except FlarekitError as error:
        assert "\n" not in str(error) and "memory" not in str(error), str(error)
        return "refused"
    assert volume.array.size <= 1032 * len(broken.content)
    assert not broken.header_stands or np.array_equal(volume.to_source_axes(), HU.T), "read, and wrong"
    return "read"


def read_all(folder: Path, name: str, count: int) -> Counter[str]:
    """What became of `count` mutants of a sample."""
    path = write_sample(folder, name)
    whole, outcomes = path.read_bytes(), Counter[str]()
    for number in range(count):
        if number % EVERY == 0:
            faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        broken = mutant(whole, name, number)
        try:
            outcomes[outcome_of(path, broken, number)] += 1
        except BaseException:
            print(f"mutant {number} of {name}: {broken.content[:400]!r}", file=sys.stderr)
            raise
    faulthandler.cancel_dump_traceback_later()
    path.write_bytes(whole)
    return outcomes


def limit_memory() -> None:
    """Let this process take little more address space than it has."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SPARE_BYTES, taken + SPARE_BYTES))


def main(folder: Path, count: int) -> None:
    faulthandler.enable()
    logging.getLogger("flarekit").setLevel(logging.CRITICAL)
    for name in SAMPLES:  # whatever libraries take on first use is taken now
        assert np.array_equal(read_volume(write_sample(folder, name)).to_source_axes(), HU.T)
    limit_memory()
    print(json.dumps({name: read_all(folder, name, count) for name in SAMPLES}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
