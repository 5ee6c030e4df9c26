"""How annotated slices are carried through a volume."""

from __future__ import annotations

from dataclasses import dataclass, field

from flarekit.config import require

AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "fp16", "bf16")  # auto: fp16 on CUDA, fp32 elsewhere


@dataclass(frozen=True, kw_only=True)
class OutlineConfig:
    """How outlines between annotated slices count beside the network. Raises ValueError on values that cannot be."""

    use: bool = True  # False: the network alone
    blur_mm: float = 1.0  # distance from an outline at which the odds are e to one, beside an annotated slice
    blur_per_mm: float = 0.15  # what that distance gains with every mm to the nearest annotated slice
    limit: float = 3.0  # log-odds at most
    fade_mm: float = 20.0  # distance to the nearest annotated slice over which the log-odds fall by e
    absent_mm: float = 5.0  # distance outside its outline at which an object counts on slices that do not show it

    def __post_init__(self) -> None:
        require.positive(self, "blur_mm", "limit", "fade_mm")
        require.at_least(0, self, "blur_per_mm", "absent_mm")


BAND_MM = 30.0  # farther outside an outline, distances are not told apart


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """How HU around annotated outlines count beside the network. Raises ValueError on values that cannot be."""

    use: bool = True  # False: neither an object's HU nor those around it count
    limit: float = 1.0  # log-odds at most
    around_mm: float = 10.0  # outside an object's outline, what it is told apart from
    noise_mm: float = 1.0  # standard deviation of the Gaussian that slices are smoothed by
    spread_hu: float = 10.0  # standard deviation of the Gaussian that histograms are smoothed by
    doubt_px: float = 20.0  # pixels that object and surroundings have in common before any is seen

    def __post_init__(self) -> None:
        require.positive(self, "limit", "around_mm", "doubt_px")
        if self.around_mm > BAND_MM:
            raise ValueError(f"around_mm is at most {BAND_MM:g}, got {self.around_mm}")
        require.at_least(0, self, "noise_mm", "spread_hu")


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """Settings of mask propagation. Raises ValueError on values that cannot be."""

    top_k: int | None = 20  # memory tokens a query token reads, the nearest ones; None reads all
    distance_bias_per_mm: float = 0.1  # taken off the affinity per mm between a slice and a remembered one
    before: int | None = None  # slices filled below an annotated one (the paper's k1); None: up to the next
    after: int | None = None  # slices filled above an annotated one (the paper's k2); None: up to the next
    memory_every: int = 0  # every n-th propagated slice is remembered too; 0: annotated slices alone
    memory_frames: int = 8  # propagated slices remembered at a time, the oldest is forgotten first
    memory_budget_mb: int = 2048  # for the memory: all annotated slices, and as many propagated ones as fit beside
    fusion_mm: float = 20.0  # distance over which a direction's weight falls by e where two directions meet
    objects_at_once: int = 4  # objects decoded in one batch: bounds the memory that decoding takes
    refine: bool = False  # annotated slices are found anew like all others, instead of coming out as they went in
    dense: bool = False  # every object is decoded and encoded on the whole of every slice
    here_above: float = 0.02  # share of attention on what shows an object, from which it is looked for there
    margin_px: int = 48  # of the network's input, around where an object is looked for
    memory_margin_px: int = 96  # the same, around where an object is remembered: values see farther
    outlines: OutlineConfig = field(default_factory=OutlineConfig)  # evidence beside the network's
    intensities: IntensityConfig = field(default_factory=IntensityConfig)  # more of it
    views_mb: int = 256  # for the last slices' features, which the way back uses again
    precision: str = AUTO  # of the network's arithmetic; weights stay float32

    def __post_init__(self) -> None:
        require.one_of(PRECISIONS, self, "precision")
        require.at_least(1, self, "top_k", "memory_frames", "memory_budget_mb", "objects_at_once", "views_mb")
        require.at_least(0, self, "distance_bias_per_mm", "before", "after", "memory_every")
        require.at_least(0, self, "margin_px", "memory_margin_px")
        require.positive(self, "fusion_mm")
        if not 0 <= self.here_above < 1:
            raise ValueError(f"here_above lies in 0..1 (1 excluded), got {self.here_above}")
