"""`flarekit ablate`: what each part of the method is worth, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, resolve_device


def ablate(
    config: Annotated[
        Path, typer.Argument(help="A TOML file: stores, test cases, training, rows; see examples/ablate.toml.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for runs, masks, and the tables ablation.md and .json.")
    ] = Path("ablation"),
    json: Json = False,
) -> None:
    """What each part of the method adds on your data: the paper's table 4, or rows of your own.

    Without rows in the file: the pair of networks on labels alone, with CPS, with windows, with pseudo-labels that
    several models agree on, and with propagation. Dice and NSD of every organ, mean and spread over the test cases.
    Rows that share a training share it. A run that was stopped goes on where it was: give the same line again.
    """
    from flarekit.ablation import run_ablation
    from flarekit.config.ablation import read_ablation

    settings = read_ablation(config)
    report = run_ablation(settings, output, resolve_device(settings.device))
    rows = [_cells(row) for row in report["rows"]]
    columns = ("row", "CPS", "windows", "pseudo-labels", "propagation", "Dice", "NSD", "s a case")
    console.emit(report, console.table("Ablation", columns, rows), f"Wrote {output / 'ablation.md'}.", as_json=json)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    parts = ("yes" if row[part] else "" for part in ("pseudo_labels", "propagation"))
    means = (row[score]["mean"] for score in ("dice", "nsd"))
    scores = (mean and mean["mean"] for mean in means)
    return row["name"], "yes" if row["cps"] else "", row["windows"], *parts, *scores, row["seconds_a_case"]
