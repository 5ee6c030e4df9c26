"""`flarekit evaluate`: scores of masks, of propagation, and of suggested slices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit import files
from flarekit.cli import console
from flarekit.cli.options import Device, Json, LabelsFile, Overwrite, label_set, resolve_device
from flarekit.errors import UsageError

app = typer.Typer(
    no_args_is_help=True, help="Score masks against the truth, and propagation and suggestions against rivals."
)


@app.command(epilog="Example: `flarekit evaluate masks predictions/ labels/ --csv scores.csv`")
def masks(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="A predicted label map, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="The true one, or a folder of them.")],
    dataset: LabelsFile = None,
    organs: Annotated[
        str | None, typer.Option("--organs", help="Score these alone, as liver,spleen: a truth may lack labels.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every case's scores to this file too.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Dice of every organ and case. An organ absent from both masks scores 1, from one of them 0.

    Organs that the dataset.json does not list under "labelled_organs" for a case are not scored in it.
    """
    from flarekit.data.layouts import LabelledOrgans
    from flarekit.evaluation.cases import pair_cases, score_pairs
    from flarekit.evaluation.tables import scores_to_csv, scores_to_json

    if csv is not None:
        files.refuse_existing(csv, overwrite=overwrite)
        files.require_writable(csv)
    labels = label_set(dataset)
    wanted = {labels.names[c - 1] for c in labels.parse(organs)}
    if not wanted:
        raise UsageError(f"{organs!r} names no organ", remedy=f"Known: {', '.join(labels.names)}.")
    labelled = LabelledOrgans.read(dataset, labels) if dataset is not None else None
    scores = [case.only(wanted) for case in score_pairs(pair_cases(predicted, truth), labels, labelled)]
    scores = [case for case in scores if case.dice]
    if not scores:
        raise UsageError("no case is labelled for these organs", remedy="Leave out --organs, or name others.")
    result = scores_to_json(scores)
    if csv is not None:
        files.write_text(csv, scores_to_csv(scores), overwrite=overwrite)
    means = console.table(
        f"Dice, {len(scores)} case(s)", ("organ", "Dice"), [*result["organs"].items(), ("mean", result["mean"])]
    )
    cases = console.table("Mean over organs", ("case", "Dice"), [(s.case, s.mean) for s in scores])
    console.emit(result, means, cases, as_json=json)


@app.command(epilog="Example: `flarekit evaluate propagation ct.nii.gz labels.nii.gz --every 5,10,20 --plot dice.png`")
def propagation(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="A CT, or a folder of them.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Its true label map on its grid, or their folder.")],
    every: Annotated[str, typer.Option("--every", help="Give every Nth slice: one or more N.")] = "5,10,20",
    offsets: Annotated[int, typer.Option("--offsets", min=1, help="Repeat from so many first slices.")] = 4,
    model: Annotated[str, typer.Option("--model", help="Propagation checkpoint.")] = "starter-propagation",
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
    _require_plot(plot, overwrite=overwrite)
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


@app.command(epilog="Example: `flarekit evaluate suggest ct.nii.gz labels.nii.gz --slices 8`")
def suggest(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="A CT, or a folder of them.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Its true label map on its grid, or their folder.")],
    slices: Annotated[int, typer.Option("--slices", min=1, help="Draw so many slices.")] = 8,
    model: Annotated[str, typer.Option("--model", help="Propagation checkpoint.")] = "starter-propagation",
    reference: Annotated[
        str, typer.Option("--reference", help="Reference checkpoint, to find organs not drawn yet; none for no such.")
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


def _require_plot(plot: Path | None, *, overwrite: bool) -> None:
    """Raises OutputError where no PNG can be written there: before long work."""
    from flarekit.report.overlay import require_new_png

    if plot is not None:
        require_new_png(plot, overwrite=overwrite)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= 6 and int(part) > 1 for part in parts):
        raise UsageError(f"--every takes whole numbers above 1, got {text!r}", remedy="Write --every 5,10,20.")
    return tuple(int(part) for part in parts)
