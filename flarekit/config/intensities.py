"""How HU tell an object from what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass

from flarekit.config import require


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """How HU in and around masks count beside a network. Raises ValueError on values that cannot be."""

    use: bool = True  # False: HU do not count
    limit: float = 1.0  # log-odds at most
    around_mm: float = 10.0  # outside an object's outline, what it is told apart from
    noise_mm: float = 1.0  # standard deviation of the Gaussian that slices are smoothed by
    spread_hu: float = 10.0  # standard deviation of the Gaussian that histograms are smoothed by
    doubt_px: float = 20.0  # pixels that object and surroundings have in common before any is seen

    def __post_init__(self) -> None:
        require.positive(self, "limit", "around_mm", "doubt_px")
        require.at_least(0, self, "noise_mm", "spread_hu")
