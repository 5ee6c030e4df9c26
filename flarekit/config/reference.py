"""How slices are sampled from a volume, looked at again, and chosen as references (paper, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

BACKENDS = ("torch", "onnx")  # what runs the reference module's networks
SELECTIONS = ("largest-area", "most-classes", "most-certain")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Which slices the reference module sees first. Raises ValueError on steps that cannot be."""

    every: int | None = None  # every so many slices one is sampled; None derives it from `every_mm`
    every_mm: float = 10.0  # distance between sampled slices when `every` is None; thicker slices are all taken

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every is at least 1 slice, got {self.every}")
        if not self.every_mm > 0:
            raise ValueError(f"every_mm lies above 0, got {self.every_mm}")


@dataclass(frozen=True, kw_only=True)
class SecondPassConfig:
    """When an organ is looked for on more slices, and on how many. Raises ValueError on values out of range."""

    max_slices: int = 40  # at most so many slices are added; 0 switches the second pass off
    min_area_mm2: float = 60.0  # an organ whose largest cut is smaller is doubtful
    min_certainty: float = 0.7  # so is one whose mean winning probability on its best slice is lower
    hint_probability: float = 0.1  # a peak probability that says where a doubtful organ may be

    def __post_init__(self) -> None:
        if self.max_slices < 0:
            raise ValueError(f"max_slices is at least 0, got {self.max_slices}")
        if self.min_area_mm2 < 0:
            raise ValueError(f"min_area_mm2 is at least 0, got {self.min_area_mm2}")
        for name in ("min_certainty", "hint_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies in 0..1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which of the segmented slices become the propagation's memory. Raises ValueError on unknown strategies."""

    strategy: str = "largest-area"  # one of SELECTIONS
    slices_per_organ: int = 3  # the best so many slices of every organ are chosen
    max_references: int = 24  # but never more than this in all

    def __post_init__(self) -> None:
        if self.strategy not in SELECTIONS:
            raise ValueError(f"strategy is one of {', '.join(SELECTIONS)}, got {self.strategy!r}")
        if self.slices_per_organ < 1:
            raise ValueError(f"slices_per_organ is at least 1, got {self.slices_per_organ}")
        if self.max_references < 1:
            raise ValueError(f"max_references is at least 1, got {self.max_references}")
