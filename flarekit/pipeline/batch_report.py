"""What became of a batch: batch.json for programs, batch.csv with a row a case and organ, and an index of reports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flarekit import __version__, files
from flarekit.pipeline.case import Recipe
from flarekit.pipeline.earlier_cases import earlier_cases
from flarekit.pipeline.outcome import CaseOutcome
from flarekit.pipeline.quality_report import index_entries
from flarekit.pipeline.statistics_table import measured_columns, organ_row
from flarekit.report.index import IndexEntry, write_index

FORMAT = {"format": "flarekit-batch", "version": 1}
BATCH_NAMES = ("batch.json", "batch.csv")
INDEX_NAME = "index.html"
COLOUR_NAMES = ("labels_itksnap.txt", "labels.ctbl")


def refuse_foreign(folder: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Raises OutputError where a file of these names was not written by an earlier batch; not with `overwrite`.

    To be called before long work: also where the folder cannot be written to.
    """
    is_batch = _is_batch(folder / BATCH_NAMES[0])
    for name in (*BATCH_NAMES, *([INDEX_NAME] if recipe.output.report else [])):
        files.refuse_existing(folder / name, overwrite=overwrite or is_batch)
        files.require_writable(folder / name)


def write_batch_report(folder: Path, outcomes: Sequence[CaseOutcome], recipe: Recipe) -> None:
    """Write these files, the index where reports are wanted, over those of an earlier run. Raises OutputError.

    What earlier runs finished in the folder of other CTs is listed too.
    """
    as_json, as_csv = BATCH_NAMES
    earlier = earlier_cases(folder, {outcome.name for outcome in outcomes})
    cases = sorted([*outcomes, *earlier], key=lambda case: case.name)
    files.write_json(folder / as_json, batch_json(cases, recipe), overwrite=True)
    files.write_text(folder / as_csv, _table(cases), overwrite=True)
    if recipe.output.report:
        write_index(folder / INDEX_NAME, _with_pages_there(folder, cases, recipe), overwrite=True)


def batch_json(outcomes: Sequence[CaseOutcome], recipe: Recipe) -> dict[str, Any]:
    """A plain dictionary; cases are named, their own JSON says where they come from."""
    return {
        **FORMAT,
        "flarekit": __version__,
        "models": {part: card.reference for part, card in recipe.models.cards.items()},
        "counts": {status: sum(o.status == status for o in outcomes) for status in _statuses(outcomes)},
        "cases": [_case(outcome) for outcome in outcomes],
    }


def _with_pages_there(folder: Path, cases: Sequence[CaseOutcome], recipe: Recipe) -> list[IndexEntry]:
    """The entries of the cases; an earlier run may have written no page of a case."""
    entries = index_entries(cases, split=recipe.output.split)
    return [
        entry if entry.page is None or (folder / entry.page).is_file() else replace(entry, page=None)
        for entry in entries
    ]


def _is_batch(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT["format"]


def _case(outcome: CaseOutcome) -> dict[str, Any]:
    report = outcome.report or {}
    return {
        "name": outcome.name,
        "status": outcome.status,
        "error": outcome.error,
        "seconds": round(outcome.elapsed_s, 3),
        "flags": report.get("flags", []),
        "organs": report.get("organs", []),
    }


def _statuses(outcomes: Sequence[CaseOutcome]) -> list[str]:
    return sorted({outcome.status for outcome in outcomes})


def _table(outcomes: Sequence[CaseOutcome]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "status", "organ", "id", "volume_ml", "confidence", *measured_columns(), "error"))
    width = 4 + len(measured_columns())
    for outcome in outcomes:
        rows = [organ_row(organ) for organ in (outcome.report or {}).get("organs", [])] or [[]]
        for row in rows:
            padded = [*row, *[None] * (width - len(row))]
            writer.writerow((outcome.name, outcome.status, *padded, outcome.error))
    return text.getvalue()
