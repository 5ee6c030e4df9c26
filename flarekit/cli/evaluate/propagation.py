"""`flarekit evaluate propagation`: propagation against what annotators use today."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.evaluate.plot import require_plot
from flarekit.cli.options import Device, Json, LabelsFile, Overwrite, label_set, resolve_device
from flarekit.errors import UsageError


def propagation(
    case: Annotated[Path, typer.Argument(help="A CT, or a folder of them.")],
    labels: Annotated[Path, typer.Argument(help="Its true label map on its grid, or their folder.")],
    every: Annotated[
        str, typer.Option("--every", help="Give every Nth slice: one N or several, comma-separated.")
    ] = "5,10,20",
    offsets: Annotated[int, typer.Option("--offsets", min=1, help="Repeat from so many first slices.")] = 4,
    model: Annotated[
        str, typer.Option("--model", help="Propagation checkpoint: NAME or NAME@VERSION.")
    ] = "starter-propagation",
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a PNG: Dice against the number of annotated slices.")
    ] = None,
    dataset: LabelsFile = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Dice on the slices between given ones: propagation, copying the nearest slice, and interpolation.

    For folders, the means over their cases; --json holds every case.
    """
    from flarekit.checkpoints import Registry
    from flarekit.evaluation.cases import labelled_cases
    from flarekit.evaluation.comparison import compare_on_files, mean_of_cases
    from flarekit.evaluation.plot import draw_comparison

    numbers, where = _numbers(every), resolve_device(device)
    require_plot(plot, overwrite=overwrite)
    loaded, names = Registry.default().load(model, kind="propagation"), label_set(dataset)
    reports = [
        compare_on_files(pair.predicted, pair.true, names, loaded, every=numbers, offsets=offsets, device=where)
        for pair in labelled_cases(case, labels)
    ]
    report = reports[0] if labels.is_file() else {"cases": reports, "results": mean_of_cases(reports)}
    methods = reports[0]["methods"]
    title = (
        f"{reports[0]['case'] if len(reports) == 1 else f'{len(reports)} cases'}: mean Dice of the slices in between"
    )
    if plot is not None:
        draw_comparison(plot, title, methods, report["results"], overwrite=overwrite)
    rows = [(e["every"], e["annotated"], *(e[method]["mean"] for method in methods)) for e in report["results"]]
    console.emit(report, console.table(title, ("every", "annotated", *methods), rows), as_json=json)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= 6 and int(part) > 1 for part in parts):
        raise UsageError(f"--every takes whole numbers above 1, got {text!r}", remedy="Write --every 5,10,20.")
    return tuple(int(part) for part in parts)
