"""How a CT becomes what a network sees: windows, in-plane spacing and canvas. Part of every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from flarekit.config import require

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class WindowPreset:
    """Channels of a slice, each a range of HU mapped linearly to 0..255. Raises ValueError on an empty range."""

    name: str
    ranges_hu: tuple[Range, ...]  # one (lowest, highest) a channel, in channel order

    def __post_init__(self) -> None:
        if not self.ranges_hu:
            raise ValueError(f"window preset {self.name!r} has no channel")
        for low, high in self.ranges_hu:
            if not low < high:
                raise ValueError(f"a window's lowest HU lies below its highest, got {low}..{high}")


def window_range(level_hu: float, width_hu: float) -> Range:
    """The HU range a radiologist's window of that level and width shows."""
    return level_hu - width_hu / 2, level_hu + width_hu / 2


def union(*ranges: Range) -> Range:
    """The range from the lowest to the highest HU that any of the windows shows."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


WINDOWS: dict[str, WindowPreset] = {
    # The paper's three groups (section 2.1), each the union of its windows.
    "paper": WindowPreset(
        name="paper",
        ranges_hu=(
            union(window_range(50, 400), window_range(30, 150)),  # abdomen
            union(window_range(-600, 1500), window_range(50, 350)),  # chest
            window_range(400, 1800),  # spine
        ),
    ),
    # What TransUNet's authors clip Synapse's CTs to (the data notes of their release), in every channel.
    "transunet": WindowPreset(name="transunet", ranges_hu=((-125.0, 275.0),) * 3),
    # No windowing: one wide linear range in every channel, for the ablation.
    "none": WindowPreset(name="none", ranges_hu=((-1024.0, 3071.0),) * 3),
}


# Mean and standard deviation that are taken out of each of three channels in 0..1.
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]] | None] = {
    "none": None,
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision's; STCN and most encoders had it
}


@dataclass(frozen=True, kw_only=True)
class PreprocessingConfig:
    """From a canonical axial slice in HU to a network's input. Raises ValueError on sizes that cannot be."""

    windows: WindowPreset = WINDOWS["paper"]  # channels
    spacing_mm: float | None = None  # in-plane spacing slices are resampled to; None keeps the native pixels
    canvas: int = 512  # smallest input height and width in pixels; larger slices take the next multiple
    multiple: int = 32  # input height and width are multiples of this
    normalisation: str = "none"  # of channels in 0..1 before the network: none, or imagenet (what photographs' have)

    def __post_init__(self) -> None:
        require.one_of(NORMALISATIONS, self, "normalisation")
        if self.spacing_mm is not None and not 0.1 <= self.spacing_mm <= 10:
            raise ValueError(f"spacing_mm lies in 0.1..10, got {self.spacing_mm}")
        if self.canvas < self.multiple or self.canvas % self.multiple:
            raise ValueError(f"canvas is a multiple of {self.multiple}, got {self.canvas}")


PREPROCESSING: dict[str, PreprocessingConfig] = {
    "paper": PreprocessingConfig(),
    "original": PreprocessingConfig(),
    "lite": PreprocessingConfig(spacing_mm=1.6, canvas=256),
}
