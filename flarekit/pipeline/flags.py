"""What a human should look at in a segmented case: doubts about the image, and about what was found in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from flarekit.check.findings import ERROR, NOTE, WARNING, Finding
from flarekit.pipeline.segmentation import OrganResult

LOW_CONFIDENCE = 0.7  # of an organ: the threshold below which the second pass looks again
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


def organ_flags(organs: Iterable[OrganResult]) -> Iterator[Flag]:
    """What the organs that were found, and those that were not, say about the case."""
    organs = tuple(organs)
    found = [organ for organ in organs if organ.confidence is not None]
    total_ml = sum(organ.volume_ml for organ in found)
    if not found:
        yield Flag(severity=ERROR, code="no-abdomen", text="no organ was found: is it a CT of the abdomen?")
        return
    if total_ml < LITTLE_ML:
        text = f"all that was found are {total_ml:.1f} mL of {len(found)} organs: is it a CT of the abdomen?"
        yield Flag(severity=WARNING, code="little-found", text=text)
    for organ in organs:
        if organ.confidence is None:
            yield Flag(severity=NOTE, code="not-found", text=f"{organ.name}: not found.", organ=organ.name)
        elif organ.confidence < LOW_CONFIDENCE:
            text = f"{organ.name}: low confidence, {organ.confidence:.2f}."
            yield Flag(severity=WARNING, code="low-confidence", text=text, organ=organ.name)
