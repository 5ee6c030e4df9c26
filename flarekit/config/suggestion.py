"""How the slice to annotate next is chosen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SuggestionConfig:
    """Settings of a suggestion, tuned on painted cases. Raises ValueError on values that cannot be."""

    look_mm: float = 10.0  # between slices that the networks look at; areas in between are interpolated
    candidate_mm: float = 2.0  # between slices that can be suggested
    reach_mm: float = 12.0  # distance to an annotated slice over which the Dice that is hoped for falls by e
    refuted_mm: float = 30.0  # how far a slice drawn without an organ casts doubt on the reference network's organ
    shown_share: float = 0.15  # of an organ's largest area, from which a slice surely shows it
    propagated_share: float = 0.5  # of an annotated organ's extent that propagation decides; the reference the rest
    doubt_weight: float = 1.0  # how much more a slice counts where the two directions share nothing
    coverage_weight: float = 2.0  # organs that an even spread over the organs' part of the volume counts as

    def __post_init__(self) -> None:
        for name in ("look_mm", "candidate_mm", "reach_mm", "refuted_mm", "shown_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is positive, got {getattr(self, name)}")
        for name in ("doubt_weight", "coverage_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative, got {getattr(self, name)}")
        if not 0 <= self.propagated_share <= 1:
            raise ValueError(f"propagated_share lies in 0..1, got {self.propagated_share}")
