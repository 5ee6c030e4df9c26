"""What became of a case of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEGMENTED, SKIPPED, EARLIER, FAILED = "segmented", "skipped", "earlier", "failed"


@dataclass(frozen=True, kw_only=True)
class CaseOutcome:
    """What became of one case."""

    name: str
    status: str  # segmented, skipped (it was finished already), earlier (an earlier run's, of other CTs), or failed
    error: str = ""  # why it failed, one line
    elapsed_s: float = 0.0
    report: dict[str, Any] | None = None  # the case's JSON
