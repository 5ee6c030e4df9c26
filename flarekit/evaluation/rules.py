"""What of a mask is scored, and how far a surface may be off: FLARE22's rules, and what its script makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flarekit.errors import UsageError
from flarekit.labels import FLARE22, LabelSet

_TOLERANCES_MM = (5.0, 3.0, 3.0, 5.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 5.0, 7.0, 3.0)
FLARE22_TOLERANCE_MM: Mapping[str, float] = dict(zip(FLARE22.names, _TOLERANCES_MM, strict=True))
TUBULAR = frozenset({"aorta", "inferior_vena_cava", "esophagus"})
OFFICIAL_LEAST_DICE = 0.2


@dataclass(frozen=True, kw_only=True)
class ScoringRules:
    """How a case is scored."""

    tolerance_mm: Mapping[str, float] = field(default_factory=lambda: dict(FLARE22_TOLERANCE_MM))  # NSD's, by organ
    ends_given: frozenset[str] = TUBULAR  # organs scored from their first labelled slice to their last one only
    official: bool = False  # as FLARE22's script: without that last slice, and NSD 0 where Dice lies below 0.2

    @classmethod
    def of(cls, labels: LabelSet, tolerance: str | None = None, *, official: bool = False) -> ScoringRules:
        """The rules for a label set: FLARE22's tolerances for organs of its names, and those that `tolerance` gives.

        `tolerance` is a number of mm for every organ, or "liver=5,spleen=3" for some. Raises UsageError where it
        cannot be understood, and where the official rules are asked for with other organs or tolerances.
        """
        if official and (tolerance is not None or not labels.same_organs(FLARE22)):
            raise UsageError(
                "--flare22 scores FLARE22's 13 organs with their own tolerances",
                remedy="Leave out --tolerance and --dataset, or --flare22.",
            )
        known = {name: FLARE22_TOLERANCE_MM[name] for name in labels.names if name in FLARE22_TOLERANCE_MM}
        return cls(tolerance_mm=known | parse_tolerance(tolerance, labels), official=official)


def parse_tolerance(text: str | None, labels: LabelSet) -> dict[str, float]:
    """Tolerances in mm by organ from "2" or "liver=5,spleen=3"; none for None. Raises UsageError."""
    if text is None:
        return {}
    if "=" not in text:
        return dict.fromkeys(labels.names, _millimetres(text, text))
    given = {}
    for part in text.split(","):
        organ, _, value = part.partition("=")
        given[labels.names[labels.class_of(organ) - 1]] = _millimetres(value, part)
    return given


def _millimetres(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1000:
        raise UsageError(f"{text.strip()!r} is no tolerance in mm", remedy="Write 2, or liver=5,spleen=3.")
    return number
