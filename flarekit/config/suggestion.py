"""How the slice to annotate next is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from flarekit.config import require


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
        require.positive(self, "look_mm", "candidate_mm", "reach_mm", "refuted_mm", "shown_share")
        require.at_least(0, self, "doubt_weight", "coverage_weight")
        require.shares(self, "propagated_share")
