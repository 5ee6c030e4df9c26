"""`flarekit suggest`: which slice to draw next."""

from __future__ import annotations

from flarekit.cli import console
from flarekit.cli.options import (
    Device,
    HuOffset,
    Json,
    LabelsFile,
    Overwrite,
    Series,
    chosen_ids,
    label_set,
    resolve_device,
)
from flarekit.cli.suggest_options import Case, Count, Drawn, Mask, Model, Organs, Partial, Picture, Reference, Slices
from flarekit.errors import UsageError


def suggest(
    case: Case,
    drawn: Drawn = None,
    count: Count = 3,
    slices: Slices = None,
    partial: Partial = False,
    organs: Organs = None,
    mask: Mask = None,
    picture: Picture = None,
    model: Model = "starter-propagation",
    reference: Reference = "starter-reference",
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
