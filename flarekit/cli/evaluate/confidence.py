"""`flarekit evaluate confidence`: what the confidence of `segment` is worth where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit import files
from flarekit.cli import console
from flarekit.cli.evaluate.kinds import named_folders
from flarekit.cli.evaluate.plot import require_plot
from flarekit.cli.options import Json, LabelsFile, Overwrite, label_set

if TYPE_CHECKING:
    from flarekit.evaluation.confidence import ConfidenceReport


def confidence(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[MASKS]... TRUTH", help="Folders that segment wrote; true label maps last."),
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="NAME=MASKS: a folder under another name; repeatable."),
    ] = None,
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=1, help="The surest part of the cases to look at.")
    ] = 0.7,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a PNG: confidence against true Dice.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write every case's and organ's confidence and Dice.")
    ] = None,
    dataset: LabelsFile = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Is segment less sure where it is wrong? Spearman's correlation of confidence and true Dice, by organ and case.

    Cases of one name in several folders are images of one anatomy; intervals are by bootstrap over anatomies.
    """
    from flarekit.data.layouts import LabelledOrgans
    from flarekit.evaluation.calibration_plot import draw_calibration
    from flarekit.evaluation.confidence import ConfidenceReport, judge_masks
    from flarekit.evaluation.consensus import TrueMasks
    from flarekit.evaluation.consensus_report import to_csv

    require_plot(plot, overwrite=overwrite)
    if csv is not None:
        files.refuse_existing(csv, overwrite=overwrite)
        files.require_writable(csv)
    labels = label_set(dataset)
    labelled = LabelledOrgans.read(dataset, labels) if dataset is not None else None
    kinds = named_folders(paths[:-1], kind or [], wrote="segment")
    judged = judge_masks(kinds, TrueMasks.of(paths[-1], labels, labelled))
    report = ConfidenceReport.of(judged, share=share)
    if plot is not None:
        draw_calibration(plot, report.cases, judged.cases, overwrite=overwrite)
    if csv is not None:
        files.write_text(csv, to_csv(judged), overwrite=overwrite)
    console.emit(report.to_json(judged), *_tables(report), as_json=json)


def _tables(report: ConfidenceReport) -> list[Any]:
    from flarekit.evaluation.consensus_report import COLUMNS

    by_case = report.cases
    names = ("", "number", "confidence", *COLUMNS[3:5], "surest", "gain (95 %)")
    kinds = [(f"cases of {name}", *quality.row()) for name, quality in by_case.kinds.items()]
    rows = [
        ("organs of all cases", *report.organs.row()),
        ("cases", *by_case.overall.row()),
        *(kinds if len(kinds) > 1 else []),
    ]
    first = console.table(f"Confidence, and its surest {by_case.share:.0%}", names, rows)
    organs = [(name, *quality.row()) for name, quality in by_case.organs.items()]
    return [first, console.table("By organ", ("organ", "cases", *names[2:]), organs)]
