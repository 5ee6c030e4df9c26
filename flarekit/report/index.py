"""The index of a batch's reports, sorted by how much each case needs a human."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flarekit.check.findings import ERROR, NOTE, WARNING
from flarekit.files import write_text
from flarekit.report.flags import flag_list
from flarekit.report.markup import frame, readable, table


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """One case of a batch."""

    name: str  # of the case
    page: str | None = None  # its report, relative to the index; None where there is none
    flags: tuple[Mapping[str, Any], ...] = ()  # as in its sidecar
    least_sure: tuple[str, float] | None = None  # the organ of the lowest confidence, and that
    found: int = 0  # organs in the mask
    organs: int = 0  # organs that were looked for
    failure: str | None = None  # why the case has no mask

    @classmethod
    def of(cls, name: str, sidecar: Mapping[str, Any], page: str | None) -> IndexEntry:
        """The entry of a case that was segmented."""
        organs = sidecar.get("organs", ())
        sure = [(organ["confidence"], organ["name"]) for organ in organs if organ.get("confidence") is not None]
        return cls(
            name=name,
            page=page,
            flags=tuple(sidecar.get("flags", ())),
            least_sure=min(sure)[::-1] if sure else None,
            found=sum(organ["volume_ml"] > 0 for organ in organs),
            organs=len(organs),
        )


def write_index(path: Path, entries: Sequence[IndexEntry], *, overwrite: bool = False) -> None:
    """Write the index of a batch. Raises OutputError."""
    write_text(path, index(entries), overwrite=overwrite)


def index(entries: Sequence[IndexEntry]) -> str:
    """The index's HTML."""
    ranked = by_need(entries)
    head = ("case", "why to look", "least sure organ", "confidence", "organs found")
    failed = sum(entry.failure is not None for entry in entries)
    flagged = sum(any(flag["severity"] != NOTE for flag in entry.flags) for entry in entries)
    cases = table("Cases", head, [_row(entry) for entry in ranked])
    return frame(
        title="Cases, those that need a human first",
        subtitle=f"{len(entries)} cases: {failed} failed, {flagged} with errors or warnings.",
        main=f'<main class="cases">\n{cases}\n</main>',
    )


def by_need(entries: Sequence[IndexEntry]) -> list[IndexEntry]:
    """Failed cases, then those with most errors, most warnings, and the least sure organ."""

    def need(entry: IndexEntry) -> tuple[bool, int, int, float, str]:
        severities = [flag["severity"] for flag in entry.flags]
        sure = entry.least_sure[1] if entry.least_sure else 1.0
        return entry.failure is None, -severities.count(ERROR), -severities.count(WARNING), sure, entry.name

    return sorted(entries, key=need)


def _row(entry: IndexEntry) -> list[str]:
    name = escape(entry.name)
    if entry.failure is not None:
        return [name, flag_list([{"severity": ERROR, "text": entry.failure}]), "", "", ""]
    organ, confidence = entry.least_sure or ("", None)
    return [
        name if entry.page is None else f'<a href="{quote(entry.page)}">{name}</a>',
        flag_list([flag for flag in entry.flags if flag["severity"] != NOTE], none=""),
        escape(readable(organ)),
        "&ndash;" if confidence is None else f"{confidence:.2f}",
        f"{entry.found} of {entry.organs}",
    ]
