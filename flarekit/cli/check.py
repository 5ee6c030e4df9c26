"""`flarekit check`: what is wrong with a data set, before it costs a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Workers
from flarekit.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from flarekit.check import DatasetReport, RepairReport
    from flarekit.check.case import CaseReport

_COLUMNS = ("case", "shape", "spacing, mm", "axes", "type", "HU", "organs", "findings")


def check(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="A data set (FLARE22 or nnU-Net layout), volumes, or folders of them or of DICOM."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Label maps that lie elsewhere: a folder, or one case's file. Alone: check these."
        ),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix", help="Write a mended copy of the data set to this new folder; nothing is changed in place."
        ),
    ] = None,
    dataset: LabelsFile = None,
    workers: Workers = 0,
    json: Json = False,
) -> None:
    """Say what is wrong with CTs and label maps: grids, HU, NaN, ids, missing organs, duplicates.

    One row a case; errors, warnings and notes are spelled out below. Ends with code 3 when there are errors.
    """
    from flarekit.check import check_dataset, repair_dataset

    if not inputs and labels is None:
        raise UsageError("nothing to check", remedy="Name a data set, or label maps with --labels.")
    report = check_dataset(inputs or [], labels=labels, dataset_json=dataset, workers=workers)
    repaired = repair_dataset(report, fix) if fix is not None else None
    console.emit(_to_json(report, repaired), _table(report), *_lines(report, repaired, fix), as_json=json)
    _end(report, repaired)


def _to_json(report: DatasetReport, repaired: RepairReport | None) -> dict[str, Any]:
    from dataclasses import asdict

    return report.to_json() | ({} if repaired is None else {"fix": asdict(repaired)})


def _table(report: DatasetReport) -> Table:
    return console.table(_title(report), _COLUMNS, [_row(case) for case in report.cases])


def _title(report: DatasetReport) -> str:
    counts = ", ".join(f"{number} {severity}s" for severity, number in report.counts.items())
    return f"{len(report.cases)} cases: {counts} (notes are in --json)"


def _row(case: CaseReport) -> tuple[object, ...]:
    from flarekit.check import NOTE

    codes = dict.fromkeys(finding.code for finding in case.findings if finding.severity != NOTE)
    organs = len(case.voxels) if case.label else None
    if (facts := case.image or case.label) is None:
        return case.name, None, None, None, None, None, organs, ", ".join(codes)
    return (
        case.name,
        " x ".join(map(str, facts.shape)),
        " x ".join(f"{mm:.2f}" for mm in facts.spacing_mm),
        facts.axes,
        facts.dtype,
        f"{facts.values.low:g}..{facts.values.high:g}" if case.image and facts.has_numbers else None,
        organs,
        ", ".join(codes) or "ok",
    )


def _lines(report: DatasetReport, repaired: RepairReport | None, fix: Path | None) -> Iterator[str]:
    """What is wrong, in words, and what was done about it."""
    from flarekit.check import NOTE

    for finding in report.findings:
        yield f"{finding.severity}: {finding.text}"
    for case in report.cases:
        for finding in case.findings:
            if finding.severity != NOTE:
                yield f"{finding.severity}: {case.name}{finding.file and f' ({finding.file})'}: {finding.text}"
    if repaired is not None:
        for repair in repaired.repaired:
            yield f"repaired: {repair.case} ({repair.file}): {', '.join(repair.done)}"
        for name in repaired.left_out:
            yield f"left out: {name}"
        mended = {repair.case for repair in repaired.repaired}
        yield f"Wrote {fix}: {len(mended)} cases mended, {repaired.copied} as they were."


def _end(report: DatasetReport, repaired: RepairReport | None) -> None:
    """Raises InputError where errors remain."""
    from flarekit.check import ERROR

    wrong = [case.name for case in report.cases if any(finding.severity == ERROR for finding in case.findings)]
    if repaired is not None:
        wrong = list(repaired.left_out)
    if wrong or any(finding.severity == ERROR for finding in report.findings):
        fixable = repaired is None and any(
            f.repair for case in report.cases for f in case.findings if f.severity == ERROR
        )
        whole = [f"the data set: {finding.code}" for finding in report.findings if finding.severity == ERROR]
        raise InputError(
            f"{len(wrong)} of {len(report.cases)} cases have errors: {', '.join([*wrong[:5], *whole])}",
            remedy="`--fix DIR` writes a mended copy of what can be mended." if fixable else "Mend or leave them out.",
        )
