"""`flarekit phantom`: data sets of painted CTs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Overwrite, Seed, Workers, label_set
from flarekit.cli.phantom_options import (
    Compression,
    Hard,
    Labelled,
    Maps,
    Output,
    Recipe,
    Size,
    SliceDistance,
    Spacing,
    Tissues,
    Unlabelled,
    UnlabelledMaps,
)
from flarekit.config.hard import HARD_KINDS, harden
from flarekit.config.phantom import RECIPES, PhantomRecipe
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from flarekit.phantom import DatasetPlan


def phantom(
    output: Output,
    labels: Maps = None,
    unlabelled_labels: UnlabelledMaps = None,
    labelled: Labelled = None,
    unlabelled: Unlabelled = 0,
    recipe: Recipe = "randomised",
    hard: Hard = None,
    spacing: Spacing = 1.6,
    size: Size = 256,
    slice_distance: SliceDistance = None,
    tissues: Tissues = False,
    compression: Compression = None,
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
