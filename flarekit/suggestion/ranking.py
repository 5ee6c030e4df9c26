"""Slices in the order in which they should be drawn, each with its reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flarekit.config.suggestion import SuggestionConfig
from flarekit.suggestion.evidence import SHOWN, Evidence, Extent
from flarekit.suggestion.gain import gains

NAMED_PART = 0.1  # of a slice's gain, from which an organ is named as a reason
NAMED_ORGANS = 3  # at most


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a slice would help with an organ."""

    organ: int  # its row
    gain: float  # of mean Dice that is hoped for from it
    share: float  # of the organ that the slice holds
    distance_mm: float | None  # to the nearest slice that shows it, drawn or suggested before; None without any
    beyond: bool  # no such slice lies on the other side: the organ's end may be here
    disagreement: float | None  # of the two directions, 0..1
    confidence: float | None  # of propagation, 0..1


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A slice to draw."""

    z: int  # slice number
    gain: float  # of mean Dice that is hoped for
    reasons: tuple[Reason, ...]  # most important first; none: it fills a gap between annotated slices


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The next slices, and the gain of every slice before any of them is drawn."""

    suggestions: tuple[Suggestion, ...]  # best first
    curve: np.ndarray  # (Z,)


def rank(evidence: Evidence, count: int, config: SuggestionConfig) -> Ranking:
    """The `count` next slices, fewer where fewer are left; each is chosen as if those before it were drawn."""
    extent = Extent.of(evidence, config)
    seen, drawn = evidence.seen.copy(), evidence.drawn.copy()
    curve, suggestions = np.zeros(drawn.shape[1]), []
    for place in range(count):
        gained = gains(extent, seen, drawn, evidence.spacing_mm, config)
        curve = gained.sum(axis=0) if place == 0 else curve
        z = int(gained.sum(axis=0).argmax())
        if not gained[:, z].sum() > 0:
            break
        suggestions.append(_suggestion(z, gained[:, z], evidence, extent, seen))
        drawn[:, z], seen[:, z] = True, extent.shows[:, z] > SHOWN
    return Ranking(suggestions=tuple(suggestions), curve=curve)


def _suggestion(z: int, gained: np.ndarray, evidence: Evidence, extent: Extent, seen: np.ndarray) -> Suggestion:
    gain = float(gained.sum())
    organs = [int(k) for k in np.argsort(-gained[:-1], kind="stable")[:NAMED_ORGANS] if gained[k] > NAMED_PART * gain]
    reasons = tuple(_reason(k, z, float(gained[k]), evidence, extent, seen[k]) for k in organs)
    return Suggestion(z=z, gain=gain, reasons=reasons)


def _reason(k: int, z: int, gain: float, evidence: Evidence, extent: Extent, seen: np.ndarray) -> Reason:
    slices = np.flatnonzero(seen)
    nearest = abs(slices - z).min(initial=len(seen)) * evidence.spacing_mm
    return Reason(
        organ=k,
        gain=gain,
        share=float(extent.share[k, z]),
        distance_mm=float(nearest) if len(slices) else None,
        beyond=bool(len(slices)) and not slices[0] < z < slices[-1],
        disagreement=_known(evidence.disagreement[k, z]),
        confidence=_known(evidence.confidence[k, z]),
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
