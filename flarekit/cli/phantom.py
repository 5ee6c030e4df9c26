"""`flarekit phantom`: data sets of painted CTs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Overwrite, Seed, Workers, label_set
from flarekit.config.hard import HARD_KINDS, harden
from flarekit.config.phantom import RECIPES, PhantomRecipe
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from flarekit.phantom import DatasetPlan

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
    hard: Annotated[
        str | None,
        typer.Option(
            "--hard",
            help=f"The same anatomy under conditions that training does not show: {', '.join(HARD_KINDS)}; all paints "
            "a data set easy/ and one of each kind.",
        ),
    ] = None,
    spacing: Annotated[float, typer.Option("--spacing", min=0.2, max=10, help="Pixel size in mm.")] = 1.6,
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Pixels along both sides.")] = 256,
    slice_distance: Annotated[
        float | None, typer.Option("--slice-distance", min=0.2, max=20, help="mm; drawn by the recipe without it.")
    ] = None,
    tissues: Annotated[
        bool,
        typer.Option(
            "--tissues",
            help="Make OUTPUT a slice store of tissues instead: train with --labelled OUTPUT, which paints each slice "
            "anew whenever it is drawn.",
        ),
    ] = False,
    compression: Annotated[
        str | None,
        typer.Option(
            "--compression",
            help="Of --tissues: bitshuffle-lz4 (without it), bitshuffle-zstd, gzip or none. gzip and none are read by "
            "h5py alone.",
        ),
    ] = None,
    seed: Seed = 0,
    dataset: LabelsFile = None,
    workers: Workers = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Paint CTs on label maps, or on synthetic anatomy, as a data set in FLARE22's layout."""
    from dataclasses import replace

    from flarekit.phantom import DatasetPlan, Part, find_maps

    write = _writer(compression, tissues=tissues, hard=hard)
    recipes = _recipes(recipe, hard)
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
    plans = {folder: replace(plan, recipe=chosen) for folder, chosen in recipes.items()}
    results = {
        kind: _result(output / kind, one, write(output / kind, one, workers=workers, overwrite=overwrite))
        for kind, one in plans.items()
    }
    tables = [_table(one) for one in results.values()]
    console.emit(results.get("", {"kinds": results}), *tables, as_json=json)


def _writer(compression: str | None, *, tissues: bool, hard: str | None) -> Callable[..., dict[str, dict[str, Any]]]:
    """What writes a plan. Raises UsageError for options that do not go together."""
    from flarekit.data.compression import DEFAULT, filter_of
    from flarekit.phantom import write_dataset, write_tissue_store

    if not tissues:
        if compression is not None:
            raise UsageError("--compression is for stores of tissues", remedy="Add --tissues, or leave it out.")
        return write_dataset
    if hard is not None:
        raise UsageError("--hard decides on HU, which tissues do not have", remedy="Leave out one of the two.")
    filter_of(compression or DEFAULT)  # raises now, not with the first case
    return partial(write_tissue_store, compression=compression)


def _recipes(name: str, hard: str | None) -> dict[str, PhantomRecipe]:
    """What to paint, by folder below the output. Raises UsageError on an unknown recipe or kind."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}", remedy=f"Use one of {', '.join(RECIPES)}.")
    if hard not in (None, "all", *HARD_KINDS):
        raise UsageError(f"unknown kind of hard case {hard!r}", remedy=f"Use one of {', '.join(HARD_KINDS)}, all.")
    recipe = RECIPES[name]
    if hard == "all":
        return {"easy": recipe} | {kind: harden(recipe, kind) for kind in HARD_KINDS}
    return {"": recipe if hard is None else harden(recipe, hard)}


def _result(folder: Path, plan: DatasetPlan, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"folder": str(folder), "recipe_sha256": plan.recipe.sha256(), "cases": records}


def _table(result: dict[str, Any]) -> Any:
    rows = [
        (name, r["source"], " x ".join(map(str, r["shape"])), r["image_sha256"][:12])
        for name, r in result["cases"].items()
    ]
    return console.table(f"Painted {result['folder']}", ("case", "anatomy", "shape", "sha256"), rows)
