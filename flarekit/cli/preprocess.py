"""`flarekit preprocess`: CTs and their labels into a slice store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Overwrite, Workers
from flarekit.config.preprocessing import WINDOWS, WindowPreset
from flarekit.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from flarekit.data.preprocess import CaseResult


def preprocess(
    inputs: Annotated[
        list[Path], typer.Argument(help="A data set (FLARE22 or nnU-Net layout), volumes, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The store's folder; new cases join it.")],
    bake_windows: Annotated[
        bool, typer.Option("--bake-windows", help="Store windowed uint8 channels instead of HU.")
    ] = False,
    windows: Annotated[
        str | None,
        typer.Option("--windows", help=f"What to bake: {', '.join(WINDOWS)}. HU takes windows as it is read."),
    ] = None,
    dataset: LabelsFile = None,
    labelled_organs: Annotated[
        str | None,
        typer.Option("--labelled-organs", help="Organs that the labels cover, as liver,spleen; all without it."),
    ] = None,
    workers: Workers = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Bring CTs, and labels where there are any, into a store that is read slice by slice.

    A run that was stopped goes on where it was: cases that are there already are skipped.
    """
    from flarekit.data.layouts import find_cases
    from flarekit.data.preprocess import preprocess as store_all
    from flarekit.data.store import SliceStore, StoreConfig

    baked = _baked(bake_windows, windows)
    found = find_cases(inputs, dataset_json=dataset, labelled_organs=labelled_organs)
    store = SliceStore.open_or_plan(output, StoreConfig(labels=found.labels, baked=baked))
    results = store_all(found.cases, store, workers=workers, overwrite=overwrite)
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


def _report(output: Path, results: list[CaseResult], *, as_json: bool) -> None:
    from dataclasses import asdict

    rows = [(result.name, result.slices, result.status, result.error) for result in results]
    table = console.table(f"Store {output}", ("case", "slices", "status", "error"), rows)
    console.emit({"store": str(output), "cases": [asdict(r) for r in results]}, table, as_json=as_json)
    if failed := [result.name for result in results if result.error]:
        raise PartialFailure(
            f"{len(failed)} of {len(results)} cases failed: {', '.join(failed[:5])}",
            where=output,
            remedy="Mend or leave out what the list names and run again; the others are stored.",
        )
