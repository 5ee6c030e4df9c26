"""Where the time of storing a case goes, beside the floor: decompressing its file, and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from flarekit.bench.memory import peak_memory_bytes
from flarekit.bench.timing import middle_per_s, timed
from flarekit.config.preprocessing import WINDOWS
from flarekit.data.case_file import StoredCase
from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import write_case
from flarekit.data.checksum import is_whole
from flarekit.data.compression import DEFAULT
from flarekit.data.layouts import CaseFiles
from flarekit.data.preprocess import store_case
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.files import sha256
from flarekit.labels import FLARE22
from flarekit.volumes import Volume, read_volume

_READS = 200
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PreprocessCost:
    """What storing one CT costs."""

    shape: tuple[int, int, int]  # (Z, H, W)
    volume_bytes: int  # as int16
    stored_bytes: int  # of the case in the store
    floor_s: float  # decompressing the file and dropping what comes out; reading it where it is not compressed
    stages_s: dict[str, float]  # each stage on its own
    total_s: float  # from the file to the store
    windowed_per_s: float  # random windowed slices read back, one process
    peak_bytes: int | None  # memory that it takes at most; None where the system does not say


def bench_preprocess(ct: Path, *, runs: int = 3) -> PreprocessCost:
    """The middle of several runs of every stage of storing a CT, and of all of them together.

    Raises InputError when the CT cannot be read.
    """
    volume = read_volume(ct)
    with TemporaryDirectory() as folder:
        stored = Path(folder) / "case.h5"
        stages: dict[str, Callable[[], object]] = {
            "hash the source": partial(sha256, ct),
            "read to HU on the canonical grid": partial(read_volume, ct),
            "write: compress, sign, flush": partial(_write, stored, volume),
            "verify what was written": partial(is_whole, stored),
        }
        stages_s = {name: timed(stage, runs=runs).median_s for name, stage in stages.items()}
        return PreprocessCost(
            shape=StoredCase(stored).shape,
            volume_bytes=volume.array.nbytes,
            stored_bytes=stored.stat().st_size,
            floor_s=timed(partial(decompress, ct), runs=runs).median_s,
            stages_s=stages_s,
            total_s=timed(partial(store_once, ct), runs=runs).median_s,
            windowed_per_s=_windowed_per_s(StoredCase(stored)),
            peak_bytes=peak_memory_bytes(store_once, ct),
        )


def decompress(path: Path) -> int:
    """Bytes in a file, or a folder's files, once decompressed where they are gzip; none of them is kept."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return sum(_length(file) for file in files)


def store_once(ct: Path) -> None:
    """Store a CT in a new store that is then thrown away."""
    with TemporaryDirectory() as folder:
        store_case(CaseFiles(name="case", image=ct), SliceStore(Path(folder), StoreConfig(labels=FLARE22)))


def _length(path: Path) -> int:
    inflater = zlib.decompressobj(wbits=31) if path.name.lower().endswith(".gz") else None
    length = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            length += len(inflater.decompress(chunk) if inflater else chunk)
    return length


def _write(path: Path, volume: Volume) -> None:
    header = CaseHeader(name="case", source=volume.source, source_name="ct", source_sha256="", label_set=FLARE22)
    write_case(path, header, volume.array, compression=DEFAULT, overwrite=True)


def _windowed_per_s(case: StoredCase) -> float:
    order = np.random.default_rng(0).integers(0, case.depth, _READS).tolist()
    return middle_per_s(lambda z: case.image(z, WINDOWS["paper"]), order)
