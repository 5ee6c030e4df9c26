"""How annotated slices are carried through a volume."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """Settings of mask propagation. Raises ValueError on values that cannot be."""

    top_k: int | None = 20  # memory tokens a query token reads, the nearest ones; None reads all
    distance_bias_per_mm: float = 0.1  # taken off the affinity per mm between a slice and a remembered one
    before: int | None = None  # slices filled below an annotated one (the paper's k1); None: up to the next
    after: int | None = None  # slices filled above an annotated one (the paper's k2); None: up to the next
    memory_every: int = 0  # every n-th propagated slice is remembered too; 0: annotated slices alone
    memory_frames: int = 8  # propagated slices remembered at a time, the oldest is forgotten first
    fusion_mm: float = 20.0  # distance over which a direction's weight falls by e where two directions meet
    objects_at_once: int = 4  # objects decoded in one batch: bounds the memory that decoding takes

    def __post_init__(self) -> None:
        for field in ("top_k", "memory_frames", "objects_at_once"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ValueError(f"{field} is at least 1, got {value}")
        for field in ("distance_bias_per_mm", "before", "after", "memory_every"):
            value = getattr(self, field)
            if value is not None and value < 0:
                raise ValueError(f"{field} is not negative, got {value}")
        if not self.fusion_mm > 0:
            raise ValueError(f"fusion_mm is positive, got {self.fusion_mm}")
