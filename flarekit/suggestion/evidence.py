"""What is known of every organ on every slice before the next slice is chosen, and how far organs reach by that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flarekit.config.suggestion import SuggestionConfig

SHOWN = 0.5  # likelihood from which a slice is taken to show an organ
BEYOND = 0.05  # what a slice beyond all organs counts beside one among them


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """K organs on Z slices; areas in mm2, NaN for a doubt that is not known."""

    spacing_mm: float  # between slices
    drawn: np.ndarray  # (K, Z) bool: the slices that are annotated for the organ, whether they show it or not
    drawn_mm2: np.ndarray  # (K, Z) as annotated, 0 on other slices
    reference_mm2: np.ndarray  # (K, Z) as the reference networks see it, 0 for organs that they do not know
    propagated_mm2: np.ndarray  # (K, Z) as carried from the annotated slices
    disagreement: np.ndarray  # (K, Z) in 0..1: 1 - Dice of what either half of the annotated slices gives
    confidence: np.ndarray  # (K, Z) in 0..1 of propagation

    @property
    def seen(self) -> np.ndarray:
        """(K, Z) bool: annotated slices that show the organ."""
        return self.drawn_mm2 > 0

    @property
    def doubt(self) -> np.ndarray:
        """(K, Z) in 0..1: the disagreement, where there is none the lack of confidence, else 0."""
        return np.nan_to_num(np.where(np.isnan(self.disagreement), 1 - self.confidence, self.disagreement))


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where organs are held to be, K of them on Z slices."""

    share: np.ndarray  # (K, Z): the part of the organ that the slice holds, doubtful slices counting for more
    shows: np.ndarray  # (K, Z) in 0..1: how likely the slice shows the organ
    weight: np.ndarray  # (K,) in 0..1: how surely the organ is there at all

    @classmethod
    def of(cls, evidence: Evidence, config: SuggestionConfig) -> Extent:
        """The extent that the evidence speaks for."""
        believed = _trusted_reference(evidence, config)
        found = evidence.reference_mm2.sum(axis=1)
        kept = np.divide(believed.sum(axis=1), found, out=np.zeros_like(found), where=found > 0)
        is_seen = np.asarray(evidence.seen.any(axis=1))
        area = np.where(is_seen[:, None], _seen_area(evidence, believed, config), believed)
        largest = area.max(axis=1, keepdims=True)
        shows = np.divide(area, config.shown_share * largest, out=np.zeros_like(area), where=largest > 0).clip(0, 1)
        return cls(
            share=normalised(area * (1 + config.doubt_weight * evidence.doubt)),
            shows=np.where(evidence.drawn, evidence.seen, shows),
            weight=np.where(is_seen, 1.0, kept),
        )

    @property
    def covered(self) -> np.ndarray:
        """(Z,) summing to 1: even from the lowest to the highest slice that probably shows an organ, little beyond."""
        slices = np.flatnonzero((self.shows > SHOWN).any(axis=0))
        covered = np.full(self.shows.shape[1], BEYOND)
        if len(slices):
            covered[slices[0] : slices[-1] + 1] = 1.0
        return covered / covered.sum()


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows (K, Z) that sum to 1, or to 0 where they are empty."""
    totals = rows.sum(axis=1, keepdims=True)
    return np.divide(rows, totals, out=np.zeros_like(rows), where=totals > 0)


def largest_run(areas: np.ndarray) -> np.ndarray:
    """Areas (Z,) of the one unbroken stretch of slices that holds most; 0 elsewhere, where networks see ghosts."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], areas > 0, [0]))))
    runs = [slice(first, stop) for first, stop in zip(edges[::2], edges[1::2], strict=True)]
    kept = np.zeros_like(areas)
    if runs:
        best = max(runs, key=lambda run: areas[run].sum())
        kept[best] = areas[best]
    return kept


def _trusted_reference(evidence: Evidence, config: SuggestionConfig) -> np.ndarray:
    """(K, Z): the reference's areas, less near slices that were drawn without the organ."""
    positions = np.arange(evidence.drawn.shape[1]) * evidence.spacing_mm
    trusted = evidence.reference_mm2.copy()
    for z in np.flatnonzero(evidence.drawn.any(axis=0)):
        doubted = 1 - np.exp(-abs(positions - positions[z]) / config.refuted_mm)
        absent = evidence.drawn[:, z] & ~evidence.seen[:, z]
        trusted[absent] *= doubted
    return trusted


def _seen_area(evidence: Evidence, believed: np.ndarray, config: SuggestionConfig) -> np.ndarray:
    """(K, Z) of annotated organs, relative: propagation and reference, each summing to its part of 1."""
    carried, believed = normalised(evidence.propagated_mm2), normalised(believed)
    part = np.where(believed.any(axis=1, keepdims=True), config.propagated_share, 1.0)
    return part * carried + (1 - part) * believed
