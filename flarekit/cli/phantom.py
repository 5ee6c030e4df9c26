"""`flarekit phantom`: data sets of painted CTs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Overwrite, Seed, Workers, label_set
from flarekit.config.phantom import RECIPES
from flarekit.errors import UsageError

Maps = Annotated[
    list[Path] | None,
    typer.Option("--labels", help="Label map to paint on, or a folder of them; repeatable. Synthetic without it."),
]
UnlabelledMaps = Annotated[
    list[Path] | None,
    typer.Option("--unlabelled-labels", help="The same for the unlabelled part; those of --labels without it."),
]


def phantom(
    output: Annotated[Path, typer.Argument(help="The data set's folder; a stopped run goes on.")],
    labels: Maps = None,
    unlabelled_labels: UnlabelledMaps = None,
    labelled: Annotated[int | None, typer.Option("--labelled", min=0, help="Labelled cases; 1 a map, or 4.")] = None,
    unlabelled: Annotated[int, typer.Option("--unlabelled", min=0, help="Unlabelled cases, truth apart.")] = 0,
    recipe: Annotated[str, typer.Option("--recipe", help=f"What is random: {', '.join(RECIPES)}.")] = "randomised",
    spacing: Annotated[float, typer.Option("--spacing", min=0.2, max=10, help="Pixel size in mm.")] = 1.6,
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Pixels along both sides.")] = 256,
    slice_distance: Annotated[
        float | None, typer.Option("--slice-distance", min=0.2, max=20, help="mm; drawn by the recipe without it.")
    ] = None,
    seed: Seed = 0,
    dataset: LabelsFile = None,
    workers: Workers = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Paint CTs on label maps, or on synthetic anatomy, as a data set in FLARE22's layout."""
    from flarekit.phantom import DatasetPlan, Part, find_maps, write_dataset

    if recipe not in RECIPES:
        raise UsageError(f"unknown recipe {recipe!r}", remedy=f"Use one of {', '.join(RECIPES)}.")
    maps = find_maps(labels or [])
    count = labelled if labelled is not None else len(maps) or 4
    if count + unlabelled == 0:
        raise UsageError("nothing to paint", remedy="Ask for some --labelled or --unlabelled cases.")
    plan = DatasetPlan(
        recipe=RECIPES[recipe], labelled=Part(count=count, maps=maps),
        unlabelled=Part(count=unlabelled, maps=find_maps(unlabelled_labels) if unlabelled_labels else maps),
        seed=seed, spacing_mm=spacing, size=size, slice_mm=slice_distance,
        organs=label_set(dataset),
    )  # fmt: skip
    records = write_dataset(output, plan, workers=workers, overwrite=overwrite)
    rows = [
        (name, r["source"], " x ".join(map(str, r["shape"])), r["image_sha256"][:12]) for name, r in records.items()
    ]
    table = console.table(f"Painted {output}", ("case", "anatomy", "shape", "sha256"), rows)
    result = {"folder": str(output), "recipe_sha256": plan.recipe.sha256(), "cases": records}
    console.emit(result, table, as_json=json)
