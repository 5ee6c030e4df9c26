"""`flarekit evaluate suggest`: suggested slices against equally many even ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Device, Json, LabelsFile, label_set, resolve_device


def suggest(
    case: Annotated[Path, typer.Argument(help="A CT, or a folder of them.")],
    labels: Annotated[Path, typer.Argument(help="Its true label map on its grid, or their folder.")],
    slices: Annotated[int, typer.Option("--slices", min=1, help="Draw so many slices.")] = 8,
    model: Annotated[
        str, typer.Option("--model", help="Propagation checkpoint: NAME or NAME@VERSION.")
    ] = "starter-propagation",
    reference: Annotated[
        str,
        typer.Option(
            "--reference", help="Reference checkpoint, to find organs not drawn yet; 'none' looks for no such."
        ),
    ] = "starter-reference",
    dataset: LabelsFile = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Dice after drawing the slices that suggest names, one after another, beside equally many even ones.

    Dice is pooled over all slices of the propagated case, drawn ones included, for every organ of the truth: both
    had the same budget, and an organ that was never drawn scores 0.
    """
    from flarekit.checkpoints import Registry
    from flarekit.evaluation.cases import labelled_cases
    from flarekit.evaluation.suggestion import compare_choices, mean_of_choices

    registry, names = Registry.default(), label_set(dataset)
    propagation_model = registry.load(model, kind="propagation")
    reference_model = None if reference == "none" else registry.load(reference, kind="reference")
    where = resolve_device(device)
    reports = [
        compare_choices(
            pair.predicted, pair.true, names, propagation_model, reference_model, slices=slices, device=where
        )
        for pair in labelled_cases(case, labels)
    ]
    result = reports[0] if labels.is_file() else {"cases": reports, "mean": mean_of_choices(reports)}
    columns = ("suggested", "uniform")
    rows = [(r["case"], *(r["choices"][name]["mean"] for name in columns)) for r in reports]
    means = mean_of_choices(reports)
    title = f"Mean Dice with {slices} slices drawn"
    table = console.table(title, ("case", *columns), [*rows, ("mean", *(means[name] for name in columns))])
    console.emit(result, table, as_json=json)
