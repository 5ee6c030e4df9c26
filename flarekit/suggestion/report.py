"""A suggestion in words and numbers: slices as the file counts them, and why each would help."""

from __future__ import annotations

from typing import Any

from flarekit import __version__
from flarekit.report.slice_numbers import number_in_file
from flarekit.suggestion.case_files import Suggested
from flarekit.suggestion.ranking import Reason, Suggestion

FORMAT = {"format": "flarekit-suggestion", "version": 1}
APART = 0.25  # disagreement of the two directions that is worth a word
UNSURE = 0.75  # confidence below which there is one


def report(suggested: Suggested) -> dict[str, Any]:
    """A plain dictionary without path and patient tag.

    Slice numbers are 0-based along the file's axial axis. `curve` is the gain of every slice in the file's order.
    """
    image, curve = suggested.image, suggested.ranking.curve
    places = range(len(curve))
    return {
        **FORMAT,
        "flarekit": __version__,
        "image": image.path.name if image.path else None,
        "annotated": sorted(number_in_file(image, z) for z in suggested.annotated),
        "suggestions": [_entry(suggested, suggestion) for suggestion in suggested.ranking.suggestions],
        "curve": [round(float(curve[number_in_file(image, place)]), 5) for place in places],
    }


def _entry(suggested: Suggested, suggestion: Suggestion) -> dict[str, Any]:
    image, z = suggested.image, suggestion.z
    return {
        "slice": number_in_file(image, z),
        "mm": round(image.z_mm(z), 2),
        "gain": round(suggestion.gain, 4),
        "why": "; ".join(_words(reason, suggested) for reason in suggestion.reasons) or "far from annotated slices",
        "organs": [_organ(reason, suggested) for reason in suggestion.reasons],
    }


def _organ(reason: Reason, suggested: Suggested) -> dict[str, Any]:
    return {
        "id": suggested.ids[reason.organ],
        "name": suggested.names[reason.organ],
        "gain": round(reason.gain, 4),
        "share": round(reason.share, 4),
        "distance_mm": _rounded(reason.distance_mm),
        "beyond_last_annotated": reason.beyond,
        "disagreement": _rounded(reason.disagreement),
        "confidence": _rounded(reason.confidence),
    }


def _words(reason: Reason, suggested: Suggested) -> str:
    """The organ, and the strongest thing to say of it."""
    organ = suggested.names[reason.organ].replace("_", " ")
    if reason.distance_mm is None:
        return f"{organ}: not drawn yet"
    if reason.disagreement is not None and reason.disagreement > APART:
        return f"{organ}: the two directions disagree (Dice {1 - reason.disagreement:.2f})"
    if reason.confidence is not None and reason.confidence < UNSURE:
        return f"{organ}: unsure (confidence {reason.confidence:.2f})"
    place = "beyond its last slice, " if reason.beyond else ""
    return f"{organ}: {place}{reason.distance_mm:.0f} mm from the nearest"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
