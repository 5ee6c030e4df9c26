"""What becomes of a case whose process dies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Lost:
    """In place of a case's result: whatever process works on it dies."""

    reason: str  # what happened and what to do, one line
