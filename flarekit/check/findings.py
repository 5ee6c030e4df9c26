"""One thing that is wrong, or worth knowing, about a file or a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
IMAGE, LABEL, BOTH = "image", "label", ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found, for people and for scripts."""

    severity: str  # error: training or inference would go wrong; warning: look at it; note: worth knowing
    code: str  # its kind in one word, the same in every version
    text: str  # a sentence or two: what is wrong, and what to do
    file: str = BOTH  # image, label, or empty where it is about the two or about the case
    repair: str = ""  # what --fix does about it; empty where it can do nothing


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    severities = [finding.severity for finding in findings]
    return {severity: severities.count(severity) for severity in SEVERITIES}
