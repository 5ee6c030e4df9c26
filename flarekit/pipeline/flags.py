"""What a human should look at in a segmented case: doubts about the image, and about what was found in it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from flarekit.check.findings import ERROR, NOTE, WARNING, Finding
from flarekit.pipeline.segmentation import OrganResult

# Of an organ; chosen on one validation anatomy. On five, painted five times each (examples/confidence_painted.py), 72 %
# of the organs whose Dice is below 0.6 are less sure, and 11 % of the others.
LOW_CONFIDENCE = 0.65
# Of the organs that the networks know: where fewer are sure, the image is like none they learned from, or too poor.
# Pelves, heads, water and noise have one of 13 at most; painted CTs of abdomens with much noise have five or six.
SURE_SHARE = 0.25
LITTLE_ML = 50.0  # all organs together: less is a gallbladder's worth


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One reason to look."""

    severity: str  # error: the mask cannot be right; warning: it may be wrong; note: worth knowing
    code: str  # its kind in one word, the same in every version
    text: str  # a sentence
    organ: str | None = None  # None where it is about the whole case

    @classmethod
    def of(cls, finding: Finding) -> Flag:
        """What `flarekit check` would find in the image."""
        return cls(severity=finding.severity, code=finding.code, text=finding.text)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, without an organ where it is about none."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def organ_flags(organs: Iterable[OrganResult], written: Container[str] | None = None) -> Iterator[Flag]:
    """What the organs that were found, and those that were not, say about the case.

    Of organs that are not `written` (names; all are, without) nothing is said but what they say of the whole case.
    """
    organs = tuple(organs)
    found = [organ for organ in organs if organ.confidence is not None]
    total_ml = sum(organ.volume_ml for organ in found)
    if not found:
        yield Flag(severity=ERROR, code="no-abdomen", text="no organ was found: is it a CT of the abdomen?")
        return
    if total_ml < LITTLE_ML:
        number = "one organ" if len(found) == 1 else f"{len(found)} organs"
        text = f"all that was found are {total_ml:.1f} mL of {number}: is it a CT of the abdomen?"
        yield Flag(severity=WARNING, code="little-found", text=text)
    if (sure := sum(is_sure(organ) for organ in found)) < SURE_SHARE * len(organs):
        text = f"{sure} of {len(organs)} organs were found with confidence: is it a CT of the abdomen, and a clear one?"
        yield Flag(severity=WARNING, code="few-sure", text=text)
    for organ in organs:
        if written is not None and organ.name not in written:
            continue
        if organ.confidence is None:
            yield Flag(severity=NOTE, code="not-found", text=f"{organ.name}: not found.", organ=organ.name)
        elif not is_sure(organ):
            yield Flag(severity=WARNING, code="low-confidence", text=_unsure(organ), organ=organ.name)


def is_sure(organ: OrganResult) -> bool:
    """Whether an organ was found, and with confidence."""
    return organ.confidence is not None and organ.confidence >= LOW_CONFIDENCE


def _unsure(organ: OrganResult) -> str:
    agreed = organ.agreement
    apart = "" if agreed is None else f" (what the networks draw by themselves overlaps by Dice {agreed:.2f})"
    return f"{organ.name}: low confidence, {organ.confidence:.2f}{apart}."
