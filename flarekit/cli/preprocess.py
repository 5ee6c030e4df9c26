"""`flarekit preprocess`: CTs and their labels into a slice store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import HuOffset, Json, LabelsFile, Scheduler, Series, Workers
from flarekit.config.preprocessing import WINDOWS, WindowPreset
from flarekit.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from flarekit.data.preprocess import CaseResult
    from flarekit.data.store import SliceStore
    from flarekit.labels import LabelSet


def preprocess(
    inputs: Annotated[
        list[Path], typer.Argument(help="A data set (FLARE22 or nnU-Net layout), volumes, DICOM, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The store's folder; new cases join it.")],
    bake_windows: Annotated[
        bool, typer.Option("--bake-windows", help="Store windowed uint8 channels instead of HU.")
    ] = False,
    windows: Annotated[
        str | None,
        typer.Option("--windows", help=f"What to bake: {', '.join(WINDOWS)}. HU takes windows as it is read."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Label maps that lie elsewhere: a folder with NAME.nii.gz, or one case's file."),
    ] = None,
    dataset: LabelsFile = None,
    labelled_organs: Annotated[
        str | None,
        typer.Option("--labelled-organs", help="Organs that the labels cover, as liver,spleen; all without it."),
    ] = None,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    compression: Annotated[
        str | None,
        typer.Option("--compression", help="bitshuffle-lz4 (fastest, a new store's), bitshuffle-zstd, gzip or none."),
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--overwrite", help="Skip the cases that are unchanged, or store every case again."),
    ] = True,
    json: Json = False,
) -> None:
    """Bring CTs, and labels where there are any, into a store that is read slice by slice.

    A run that was stopped goes on where it was: cases that are there already are skipped, those whose files or
    settings have changed are stored again.
    """
    from flarekit.data.layouts import find_cases
    from flarekit.data.preprocess import preprocess as store_all
    from flarekit.volumes.hu import parse_offset

    baked = _baked(bake_windows, windows)
    found = find_cases(
        inputs,
        labels=labels,
        dataset_json=dataset,
        labelled_organs=labelled_organs,
        series=series,
        hu_offset=parse_offset(hu_offset),
    )
    store = _store(output, found.labels, baked, compression)
    results = store_all(found.cases, store, workers=workers, scheduler=scheduler, overwrite=not resume)
    _report(output, results, as_json=json)


def _baked(bake_windows: bool, windows: str | None) -> WindowPreset | None:
    if windows is not None and windows not in WINDOWS:
        raise UsageError(f"unknown windows {windows!r}", remedy=f"Use one of {', '.join(WINDOWS)}.")
    if windows is not None and not bake_windows:
        raise UsageError(
            "--windows goes with --bake-windows",
            remedy="A store of HU takes its windows when it is read: say --windows to the training.",
        )
    return WINDOWS[windows or "paper"] if bake_windows else None


def _store(output: Path, labels: LabelSet, baked: WindowPreset | None, compression: str | None) -> SliceStore:
    from flarekit.data.compression import DEFAULT, filter_of
    from flarekit.data.store import SliceStore, StoreConfig

    filter_of(compression or DEFAULT)  # raises now, not with the first case
    config = StoreConfig(labels=labels, baked=baked, compression=compression or DEFAULT)
    store = SliceStore.open_or_plan(output, config)
    if compression is not None:
        store.require_compression(compression)
    return store


def _report(output: Path, results: list[CaseResult], *, as_json: bool) -> None:
    from collections import Counter
    from dataclasses import asdict

    counts = Counter(result.status for result in results)
    rows = [(result.name, result.slices, result.status, result.error) for result in results]
    table = console.table(f"Store {output}", ("case", "slices", "status", "error"), rows)
    summary = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    result = {"store": str(output), "counts": dict(counts), "cases": [asdict(r) for r in results]}
    console.emit(result, table, f"{len(results)} cases: {summary}.", as_json=as_json)
    if failed := [result.name for result in results if result.error]:
        raise PartialFailure(
            f"{len(failed)} of {len(results)} cases failed: {', '.join(failed[:5])}",
            where=output,
            remedy="Mend or leave out what the list names and run again; the others are stored.",
        )
