"""The ledger as a table for spreadsheets, `ledger.csv`: a row a case, with every score."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from flarekit.consensus.ledger import Record, RoundSettings
from flarekit.files import write_text

TABLE = "ledger.csv"


def write_table(path: Path, settings: RoundSettings, records: Mapping[str, Record]) -> None:
    """Write the records, sorted by case, over a table that is there. Raises OutputError.

    Scores that could not be had are empty. `case MODE` is a case's score by any mode, `MODE: ORGAN` an organ's, the
    mean over members; `member NAME` and `member NAME: ORGAN` are single members' by the round's own. A member may
    be called as an organ is, or a column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(settings, records), restval="", lineterminator="\n")
    writer.writeheader()
    for case in sorted(records):
        writer.writerow(_row(records[case], settings))
    write_text(path, text.getvalue(), overwrite=True)


def _columns(settings: RoundSettings, records: Mapping[str, Record]) -> list[str]:
    first = ["round", "case", "status", "reason", "mode", "threshold", "score", "ignored", "mask", "seconds"]
    modes = sorted({mode for record in records.values() for mode in (*record.case_scores, *record.organ_means)})
    voters = sorted({f"member {voter}" for record in records.values() for voter in record.organ_scores})
    organs = [f"{scores}: {organ}" for scores in (*modes, *voters) for organ in settings.organs]
    return first + [f"case {mode}" for mode in modes] + voters + organs


def _row(record: Record, settings: RoundSettings) -> dict[str, object]:
    """Cells by column; None makes an empty one."""
    row: dict[str, object] = {
        "round": settings.round,
        "case": record.case,
        "status": record.status,
        "reason": record.reason,
        "mode": settings.mode,
        "threshold": settings.threshold,
        "score": record.score,
        "ignored": " ".join(record.ignored),
        "mask": record.mask,
        "seconds": record.seconds,
    }
    row |= {f"case {mode}": score for mode, score in record.case_scores.items()}
    row |= {f"member {voter}": score for voter, score in record.member_scores.items()}
    by_organ = record.organ_means | {f"member {voter}": scores for voter, scores in record.organ_scores.items()}
    for name, scores in by_organ.items():
        row |= {f"{name}: {organ}": score for organ, score in scores.items()}
    return row
