"""`flarekit evaluate consensus`: what the score of pseudo-labels is worth where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit import files
from flarekit.cli import console
from flarekit.cli.evaluate.kinds import named_folders
from flarekit.cli.evaluate.plot import require_plot
from flarekit.cli.options import Json, LabelsFile, Overwrite, label_set
from flarekit.config.consensus import SCORES
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from flarekit.evaluation.consensus_report import ConsensusReport


def consensus(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[LEDGER_DIR]... TRUTH", help="Folders that pseudolabel wrote; true label maps last."),
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="NAME=LEDGER_DIR: a ledger's folder under another name; repeatable."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option("--score", help=f"Report on another score: {', '.join(SCORES)}; the round's own without it."),
    ] = None,
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=1, help="The best-scored part of the cases to look at.")
    ] = 0.7,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a PNG: score against true Dice.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every case's and organ's scores and Dice.")] = None,
    dataset: LabelsFile = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Does a pseudo-label's score tell how good it is? Spearman's correlation with true Dice, and what selecting gains.

    Cases of one name in several folders are images of one anatomy; intervals are by bootstrap over anatomies. Run
    pseudolabel with --write-rejected, so that rejected cases are judged as well.
    """
    from flarekit.data.layouts import LabelledOrgans
    from flarekit.evaluation.calibration_plot import draw_calibration
    from flarekit.evaluation.consensus import TrueMasks, judge_ledgers, modes_of
    from flarekit.evaluation.consensus_report import report_on, to_csv

    _refuse_outputs(plot, csv, overwrite=overwrite)
    labels = label_set(dataset)
    labelled = LabelledOrgans.read(dataset, labels) if dataset is not None else None
    kinds = named_folders(paths[:-1], kind or [], wrote="pseudolabel")
    judged = judge_ledgers(kinds, TrueMasks.of(paths[-1], labels, labelled))
    if (mode := score or judged.mode) not in modes_of(judged.cases):
        raise UsageError(
            f"not every case has the score {mode!r}", remedy=f"Use one of {', '.join(modes_of(judged.cases))}."
        )
    report = report_on(judged, mode=mode, share=share)
    if plot is not None:
        draw_calibration(plot, report, judged.cases, overwrite=overwrite)
    if csv is not None:
        files.write_text(csv, to_csv(judged), overwrite=overwrite)
    console.emit(report.to_json(judged), *_tables(report), as_json=json)


def _refuse_outputs(plot: Path | None, csv: Path | None, *, overwrite: bool) -> None:
    """Raises OutputError where something cannot be written: before long work."""
    require_plot(plot, overwrite=overwrite)
    if csv is not None:
        files.refuse_existing(csv, overwrite=overwrite)
        files.require_writable(csv)


def _tables(report: ConsensusReport) -> list[Any]:
    from flarekit.evaluation.consensus_report import COLUMNS

    cases = [(kind, *quality.row()) for kind, quality in report.kinds.items()] if len(report.kinds) > 1 else []
    kept = [("kept", *report.kept.row())] if report.kept is not None else []
    first = console.table(
        f"Score {report.mode}, and its best-scored {report.share:.0%}",
        ("cases of kind", *COLUMNS[1:]),
        [*cases, ("all", *report.overall.row()), *kept],
    )
    organs = console.table(
        "By organ", ("organ", *COLUMNS[1:]), [(name, *quality.row()) for name, quality in report.organs.items()]
    )
    modes = console.table(
        "Other scores of the same cases",
        ("score", *COLUMNS[1:]),
        [(name, *quality.row()) for name, quality in report.modes.items()],
    )
    return [first, organs, modes] if len(report.modes) > 1 else [first, organs]
