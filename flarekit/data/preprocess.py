"""Brings cases into a slice store: resumable, many processes if wanted, one bad case does not stop the others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flarekit.data.case_file import StoredCase, write_case
from flarekit.data.case_header import CaseHeader
from flarekit.data.layouts import CaseFiles
from flarekit.data.store import SliceStore
from flarekit.errors import FlarekitError, InputError, OutputError
from flarekit.files import sha256
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid

WRITTEN, SKIPPED, FAILED = "written", "skipped", "failed"


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of one case."""

    name: str
    status: str  # written, skipped (it is there already, made the same way), or failed
    slices: int = 0
    error: str = ""  # why it failed, one line


def preprocess(
    cases: Sequence[CaseFiles], store: SliceStore, *, workers: int = 0, overwrite: bool = False
) -> list[CaseResult]:
    """Store every case, in order of name; `workers` processes beside this one, or none.

    A case that is there with the same source, labels and settings is skipped, so that a run that was stopped goes
    on. A case that cannot be read or written is reported as failed; a single case raises its error instead.
    """
    if len(cases) == 1:
        return [store_case(cases[0], store, overwrite=overwrite)]
    results = _inline(cases, store, overwrite) if workers == 0 else _parallel(cases, store, overwrite, workers)
    shown = tqdm(results, total=len(cases), desc="preprocess", unit="case", disable=None, leave=False)
    return sorted(shown, key=lambda result: result.name)


def store_case(case: CaseFiles, store: SliceStore, *, overwrite: bool = False) -> CaseResult:
    """Store one case, unless it is there already; the first makes the store. Raises InputError or OutputError."""
    source, labels = _digest(case.image), _digest(case.label) if case.label else ""
    target = store.case_path(case.name)
    if os.path.exists(target) and not overwrite:  # unlike Path.exists, False for a name that is too long
        return _already_there(StoredCase(target), case, source, labels)
    volume = read_volume(case.image)
    classes = None if case.label is None else _read_classes(case, volume, store)
    header = CaseHeader(
        name=case.name,
        source=volume.source,
        source_name=case.image.name,
        source_sha256=source,
        label_set=store.labels,
        labelled=case.labelled,
        labels_sha256=labels,
        baked=store.config.baked,
    )
    compression = store.config.compression
    store.settle()
    write_case(target, header, volume.array, classes, compression=compression, overwrite=overwrite)
    return CaseResult(name=case.name, status=WRITTEN, slices=volume.array.shape[0])


def _already_there(stored: StoredCase, case: CaseFiles, source: str, labels: str) -> CaseResult:
    header = stored.header
    if (header.source_sha256, header.labels_sha256, header.labelled) != (source, labels, case.labelled):
        raise OutputError(
            "exists already, made from other files or other labelled organs",
            where=stored.path,
            remedy="Pass --overwrite or choose another store.",
        )
    return CaseResult(name=case.name, status=SKIPPED, slices=stored.depth)


def _read_classes(case: CaseFiles, volume: Volume, store: SliceStore) -> np.ndarray:
    assert case.label is not None
    labels = read_labels(case.label)
    require_same_grid(volume, labels)
    return store.labels.to_classes(labels.array, where=case.label)


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files whatever their names."""
    if not path.exists():
        raise InputError("does not exist", where=path, remedy="Check the path.")
    if path.is_file():
        return sha256(path)
    digests = sorted(sha256(file) for file in path.iterdir() if file.is_file())
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _inline(cases: Sequence[CaseFiles], store: SliceStore, overwrite: bool) -> Iterator[CaseResult]:
    for case in cases:
        yield _reported(case, store, overwrite)


def _parallel(cases: Sequence[CaseFiles], store: SliceStore, overwrite: bool, workers: int) -> Iterator[CaseResult]:
    with ProcessPoolExecutor(min(workers, len(cases)), mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_reported, case, store, overwrite): case for case in cases}
        for job in as_completed(jobs):
            yield _result_of(job, jobs[job])


def _reported(case: CaseFiles, store: SliceStore, overwrite: bool) -> CaseResult:
    try:
        return store_case(case, store, overwrite=overwrite)
    except FlarekitError as error:
        return CaseResult(name=case.name, status=FAILED, error=str(error))


def _result_of(job: Future[CaseResult], case: CaseFiles) -> CaseResult:
    try:
        return job.result()
    except BrokenProcessPool:
        lost = "a worker process died, most likely for want of memory. Run again with fewer --workers."
        return CaseResult(name=case.name, status=FAILED, error=f"{case.image}: {lost}")
