"""How slices are sampled from a volume, looked at again, and chosen as references (paper, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from flarekit.config import require

BACKENDS = ("torch", "onnx")  # what runs the reference module's networks
SELECTIONS = ("largest-area", "most-classes", "most-certain")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Which slices the reference module sees first. Raises ValueError on steps that cannot be."""

    every: int | None = None  # every so many slices one is sampled; None derives it from `every_mm`
    every_mm: float = 10.0  # distance between sampled slices when `every` is None; thicker slices are all taken

    def __post_init__(self) -> None:
        require.at_least(1, self, "every")
        require.positive(self, "every_mm")


@dataclass(frozen=True, kw_only=True)
class SecondPassConfig:
    """When an organ is looked for on more slices, and on how many. Raises ValueError on values out of range."""

    max_slices: int = 40  # at most so many slices are added; 0 switches the second pass off
    min_area_mm2: float = 60.0  # an organ whose largest cut is smaller is doubtful
    min_certainty: float = 0.7  # so is one whose mean winning probability on its best slice is lower
    hint_probability: float = 0.1  # a peak probability that says where a doubtful organ may be

    def __post_init__(self) -> None:
        require.at_least(0, self, "max_slices", "min_area_mm2")
        require.shares(self, "min_certainty", "hint_probability")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which of the segmented slices become the propagation's memory. Raises ValueError on unknown strategies."""

    strategy: str = "largest-area"  # one of SELECTIONS
    slices_per_organ: int = 3  # the best so many slices of every organ are chosen
    max_references: int = 24  # but never more than this in all

    def __post_init__(self) -> None:
        require.one_of(SELECTIONS, self, "strategy")
        require.at_least(1, self, "slices_per_organ", "max_references")
