"""What annotating a slice would gain.

The Dice that is hoped for on a slice falls with its distance to the annotated slices that show the organ. Between two
of them their distances count as resistors in parallel do, so that the middle of a gap is half as far as the same
place beyond the last annotated slice. An organ's Dice is the mean over its slices, weighted with its areas; what a
candidate gains is how much it lifts that. Each further choice gains less nearby: suggestions keep apart by themselves.
"""

from __future__ import annotations

import numpy as np

from flarekit.config.suggestion import SuggestionConfig
from flarekit.suggestion.evidence import Extent

_NEAR_MM = 1e-3  # a slice's distance to itself, which is divided by


def gains(
    extent: Extent, seen: np.ndarray, drawn: np.ndarray, spacing_mm: float, config: SuggestionConfig
) -> np.ndarray:
    """(K + 1, Z) of mean Dice hoped for, organ by organ, then for an even spread; 0 on slices annotated for all.

    `seen` (K, Z) bool are annotated slices with the organ, `drawn` (K, Z) bool those annotated for it.
    """
    depth, anything = drawn.shape[1], drawn.any(axis=0)
    candidates = _candidates(np.asarray(drawn.all(axis=0)), spacing_mm, config)
    gained = np.zeros((len(seen) + 1, depth))
    rows = [*zip(seen, drawn, extent.share, strict=True), (anything, anything, extent.covered)]
    for k, (known, given, share) in enumerate(rows):
        gained[k, candidates] = _lift(known, given, share, candidates, spacing_mm, config)
    gained[:-1] *= extent.weight[:, None] * extent.shows
    gained[-1] *= config.coverage_weight
    return gained / (extent.weight.sum() + config.coverage_weight)


def _candidates(done: np.ndarray, spacing_mm: float, config: SuggestionConfig) -> np.ndarray:
    step = max(1, int(config.candidate_mm / spacing_mm + 1e-6))
    slices = np.arange(0, len(done), step)
    return slices[~done[slices]]


def _lift(
    known: np.ndarray,
    given: np.ndarray,
    share: np.ndarray,
    candidates: np.ndarray,
    spacing_mm: float,
    config: SuggestionConfig,
) -> np.ndarray:
    """(candidates,): how much each candidate would lift one organ's Dice; `known` slices show it, `given` are right."""
    if not share.any():
        return np.zeros(len(candidates))
    below, above = _sides(np.flatnonzero(known), len(share), spacing_mm)
    below, above = below.min(axis=0, initial=np.inf), above.min(axis=0, initial=np.inf)
    new_below, new_above = _sides(candidates, len(share), spacing_mm)
    now = np.where(given, 1.0, _hoped(below, above, config))
    then = _hoped(np.minimum(new_below, below), np.minimum(new_above, above), config)
    return (then - now).clip(min=0) @ share


def _sides(slices: np.ndarray, depth: int, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (len(slices), Z): distances in mm up from each slice, and down from it; infinite on its other side."""
    up_mm = (np.arange(depth) - slices[:, None]) * spacing_mm
    return np.where(up_mm >= 0, up_mm, np.inf), np.where(up_mm <= 0, -up_mm, np.inf)


def _hoped(below_mm: np.ndarray, above_mm: np.ndarray, config: SuggestionConfig) -> np.ndarray:
    """Dice hoped for at these distances from the nearest slices on both sides; 0 where there is none."""
    nearness = 1 / np.maximum(below_mm, _NEAR_MM) + 1 / np.maximum(above_mm, _NEAR_MM)
    return np.exp(-1 / (config.reach_mm * np.maximum(nearness, 1e-9)))
