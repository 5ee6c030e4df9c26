"""`flarekit suggest`: which slice to draw next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Device, HuOffset, Json, LabelsFile, Overwrite, Series, label_set, resolve_device
from flarekit.cli.propagate import chosen_ids
from flarekit.errors import UsageError


def suggest(
    case: Annotated[Path, typer.Argument(help="The CT.")],
    drawn: Annotated[
        Path | None, typer.Argument(help="The label map drawn so far, on the CT's grid; without it, the first slices.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100, help="Suggest so many slices.")] = 3,
    slices: Annotated[
        str | None,
        typer.Option("--slices", help="The annotated slices, as for propagate. Without it, those that hold a label."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="A slice shows some organs only: it may be suggested for the others.")
    ] = False,
    organs: Annotated[
        str | None, typer.Option("--organs", help="Look for these only: names or label ids, comma-separated.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="What was propagated from the drawing, to rank by and to show.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Write a PNG: the gain of every slice, and the first suggestions.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Propagation checkpoint.")] = "starter-propagation",
    reference: Annotated[
        str, typer.Option("--reference", help="Reference checkpoint, to find organs not drawn yet; none for no such.")
    ] = "starter-reference",
    dataset: LabelsFile = None,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Which slices to draw next, and why.

    Each is chosen as if those before it were drawn. Organs count alike, however small: name the ones you draw
    with --organs. The gain is of mean Dice, and a rough guess.
    """
    from flarekit.checkpoints import Registry
    from flarekit.config.suggestion import SuggestionConfig
    from flarekit.propagation.slice_list import parse_slices
    from flarekit.report.overlay import require_new_png
    from flarekit.suggestion.case_files import SuggestionFiles, suggest_files
    from flarekit.suggestion.picture import draw_suggestion
    from flarekit.suggestion.report import report
    from flarekit.volumes.hu import parse_offset

    if drawn is None and (mask is not None or slices is not None or partial):
        raise UsageError(
            "--mask, --slices and --partial belong to a drawing", remedy="Name the label map that was drawn."
        )
    if picture is not None:
        require_new_png(picture, overwrite=overwrite)
    labels, registry = label_set(dataset), Registry.default()
    suggested = suggest_files(
        SuggestionFiles(
            image=case, drawn=drawn, partial=partial, carried=mask, series=series, hu_offset=parse_offset(hu_offset)
        ),
        registry.load(model, kind="propagation"),
        None if reference == "none" else registry.load(reference, kind="reference"),
        SuggestionConfig(),
        count=count,
        slices=None if slices is None else parse_slices(slices),
        ids=chosen_ids(organs, labels),
        labels=labels,
        device=resolve_device(device),
    )
    if picture is not None:
        draw_suggestion(picture, suggested, overwrite=overwrite)
    result = report(suggested)
    rows = [(s["slice"], f"{s['mm']:.1f}", f"{s['gain']:.3f}", s["why"]) for s in result["suggestions"]]
    title = f"Draw next, after {len(result['annotated'])} annotated slices"
    console.emit(result, console.table(title, ("slice", "mm", "gain", "why"), rows), as_json=json)
