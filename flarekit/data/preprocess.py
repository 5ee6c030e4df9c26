"""Brings cases into a slice store: resumable, many processes if wanted, one bad case does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tqdm import tqdm

from flarekit.data.case_file import StoredCase
from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import write_case
from flarekit.data.digest import digest
from flarekit.data.layouts import CaseFiles, is_painted
from flarekit.data.store import SliceStore
from flarekit.errors import FlarekitError, InputError
from flarekit.files import remove_leftovers
from flarekit.labels import IGNORE
from flarekit.parallel import Lost, run_cases
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid

WRITTEN, REDONE, SKIPPED, FAILED = "written", "redone", "skipped", "failed"


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of one case."""

    name: str
    status: str  # written, redone (was there, made otherwise), skipped (is there, made the same way), or failed
    slices: int = 0
    error: str = ""  # why it failed, one line


def preprocess(
    cases: Sequence[CaseFiles],
    store: SliceStore,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> list[CaseResult]:
    """Store every case, in order of name; `workers` and `scheduler` as `flarekit.parallel.run_cases` takes them.

    A case that is there with the same source, labels and settings is skipped, so that a run that was stopped goes
    on; one that is there with others is stored again, as is every case with `overwrite`. A case that cannot be read
    or written is reported as failed; a single case raises its error instead.
    """
    remove_leftovers(store.path)
    try:
        if len(cases) == 1 and scheduler is None:
            return [store_case(cases[0], store, overwrite=overwrite)]
        if scheduler is not None:  # whose workers stand in other folders
            cases, store = [_absolute(case) for case in cases], SliceStore(store.path.absolute(), store.config)
        work = partial(_reported, store=store, overwrite=overwrite)
        done = run_cases(work, cases, workers=workers, scheduler=scheduler)
        shown = tqdm(done, total=len(cases), desc="preprocess", unit="case", disable=None, leave=False)
        return sorted((_result_of(case, result) for case, result in shown), key=lambda result: result.name)
    finally:
        remove_leftovers(store.path)


def store_case(case: CaseFiles, store: SliceStore, *, overwrite: bool = False) -> CaseResult:
    """Store one case, unless it is there already; the first makes the store. Raises InputError or OutputError."""
    source, labels = digest(case.image, case.series), digest(case.label) if case.label else ""
    target = store.case_path(case.name)
    is_there = os.path.exists(target)  # unlike Path.exists, False for a name that is too long
    if is_there and not overwrite and _is_unchanged(stored := StoredCase(target), case, store, (source, labels)):
        return CaseResult(name=case.name, status=SKIPPED, slices=stored.depth)
    volume = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
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
        hu_offset=volume.hu_offset,
        hu_offset_asked=str(case.hu_offset),
        painted=is_painted(case.image),
    )
    compression = store.config.compression
    write_case(
        target, header, volume.array, classes, compression=compression, overwrite=True, before_visible=store.settle
    )
    return CaseResult(name=case.name, status=REDONE if is_there else WRITTEN, slices=volume.array.shape[0])


def _is_unchanged(stored: StoredCase, case: CaseFiles, store: SliceStore, digests: tuple[str, str]) -> bool:
    """Whether the case was made from the same files, `digests` those of CT and labels, in the same way."""
    header, config = stored.header, store.config
    return (
        (header.source_sha256, header.labels_sha256) == digests
        and header.labelled == case.labelled
        and header.baked == config.baked
        and header.hu_offset_asked == str(case.hu_offset)
        and header.label_set.same_organs(config.labels)
    )


def _read_classes(case: CaseFiles, volume: Volume, store: SliceStore) -> np.ndarray:
    assert case.label is not None
    labels = read_labels(case.label, like=volume)
    require_same_grid(volume, labels)
    classes = store.labels.to_classes(labels.array, where=case.label)
    if len(case.labelled) < store.labels.classes - 1 and (classes == IGNORE).any():
        raise InputError(
            "is labelled for some organs only, and holds the ignore label: what it ignores could not be told from what "
            "nobody looked for",
            where=case.label,
            remedy="Give the voxels another id, or leave the case out.",
        )
    return classes


def _reported(case: CaseFiles, store: SliceStore, overwrite: bool) -> CaseResult:
    try:
        return store_case(case, store, overwrite=overwrite)
    except FlarekitError as error:
        return CaseResult(name=case.name, status=FAILED, error=str(error))
    except MemoryError:
        reason = "takes more memory than there is. Run again with fewer --workers."
        return CaseResult(name=case.name, status=FAILED, error=f"{case.image}: {reason}")


def _result_of(case: CaseFiles, result: CaseResult | Lost) -> CaseResult:
    if isinstance(result, Lost):
        return CaseResult(name=case.name, status=FAILED, error=f"{case.image}: {result.reason}")
    return result


def _absolute(case: CaseFiles) -> CaseFiles:
    return replace(case, image=case.image.absolute(), label=case.label and case.label.absolute())
