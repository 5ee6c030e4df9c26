"""How networks are trained: optimiser, loop, augmentation, and what is particular to each training.

The defaults are the paper's protocol (tables 2 and 3); where the paper is silent, the field's comment says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flarekit.config import require

SCHEDULES = ("step", "cosine", "poly")
PRECISIONS = ("fp32", "bf16", "fp16")
MIRRORS = ("swap", "off")
REFERENCE_NETWORKS = ("transunet", "deeplabv3plus")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW and its learning rate over the iterations. Raises ValueError on values that cannot be."""

    lr: float = 1e-4  # highest learning rate (tables 2 and 3)
    schedule: str = "step"  # "step" is the paper's; "cosine" and "poly" fall to zero at the last iteration
    milestones: tuple[float, ...] = (0.8, 0.9)  # step: after these shares of the iterations, 40,000 and 45,000
    factor: float = 0.5  # step: lr is multiplied by this
    power: float = 0.9  # poly: exponent of the remaining share
    warmup: int = 0  # iterations of linear growth from zero at the start, with every schedule
    weight_decay: float = 0.01  # AdamW's own default; not of norms and biases
    clip_norm: float | None = None  # gradients are scaled down to this L2 norm; None leaves them
    ema: float | None = None  # decay of a running average of the weights, used in their place; None: no average

    def __post_init__(self) -> None:
        require.one_of(SCHEDULES, self, "schedule")
        require.positive(self, "lr", "clip_norm")
        require.at_least(0, self, "warmup", "weight_decay")
        if list(self.milestones) != sorted(self.milestones) or any(not 0 < m < 1 for m in self.milestones):
            raise ValueError(f"milestones are growing shares between 0 and 1, got {self.milestones}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema lies between 0 and 1, got {self.ema}")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What every training shares. Raises ValueError on values that cannot be."""

    iterations: int = 50_000  # optimiser steps in all (tables 2 and 3)
    seed: int = 0  # of initial weights, samples and dropout
    precision: str = "fp32"  # of the arithmetic; weights and optimiser stay float32
    accumulate: int = 1  # batches whose gradients are averaged before an optimiser step
    validate_every: int = 1_000  # iterations between validations; the last iteration is always validated
    validation_stride: int = 4  # validation looks at every n-th slice of a case
    save_every: int = 500  # iterations between states that a killed run goes on from
    workers: int | None = None  # loader processes, samples do not depend on their number; None: 4 beside a GPU, else 0

    def __post_init__(self) -> None:
        require.one_of(PRECISIONS, self, "precision")
        require.at_least(1, self, "iterations", "accumulate", "validate_every", "validation_stride", "save_every")
        require.at_least(0, self, "seed", "workers")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random changes of a training slice, drawn once a sample. Raises ValueError on values that cannot be."""

    flips: bool = False  # left/right and front/back, each half of the time
    mirror: str = "swap"  # what a reflection does: "swap" exchanges paired organs, "off" allows none
    quarter_turns: bool = False  # rotations by multiples of 90 degrees
    rotation_deg: float = 0.0  # rotation by up to this angle, either way
    scale: float = 1.0  # zoom between 1 / scale and scale
    shift: float = 0.0  # shift by up to this share of the side, where nothing is cropped
    window_shift: float = 0.0  # windows move by up to this share of their width, and widen as much
    gamma: float = 1.0  # grey values to the power of 1 / gamma to gamma
    noise_hu: float = 0.0  # white noise is added with a standard deviation of up to this
    coarsen: float = 1.0  # half of the samples are shown as if pixels were larger, by up to this factor
    field_of_view: float = 1.0  # half of the samples show a part alone, its sides at least this share of the slice's

    def __post_init__(self) -> None:
        require.one_of(MIRRORS, self, "mirror")
        require.at_least(1, self, "scale", "gamma", "coarsen")
        require.at_least(0, self, "rotation_deg", "shift", "window_shift", "noise_hu")
        if not 0 < self.field_of_view <= 1:
            raise ValueError(f"field_of_view is a share above 0 to 1, got {self.field_of_view}")
        if self.window_shift >= 0.5:
            raise ValueError(f"window_shift lies below 0.5, got {self.window_shift}")


AUGMENTATIONS: dict[str, AugmentationConfig] = {
    # The paper's "simple 2D transform functions such as horizontal/vertical flipping or rotating" (section 3.2).
    "paper": AugmentationConfig(flips=True, quarter_turns=True),
    # Keeps left, right, front and back where networks can rely on them.
    "affine": AugmentationConfig(
        rotation_deg=12.0, scale=1.2, shift=0.06, window_shift=0.08, gamma=1.25, noise_hu=15.0, mirror="off"
    ),
    # The same and wider, pixels of up to 3.5 mm on a grid of 1.6 mm, and fields of view that cut the patient: for CTs
    # of scanners that none is trained on.
    "scanners": AugmentationConfig(
        rotation_deg=15.0,
        scale=1.3,
        shift=0.08,
        window_shift=0.1,
        gamma=1.4,
        noise_hu=20.0,
        coarsen=2.2,
        field_of_view=0.55,
        mirror="off",
    ),
    "none": AugmentationConfig(mirror="off"),
}


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """One network of the reference pair on labelled slices alone. Raises ValueError on bad values."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = AUGMENTATIONS["paper"]
    network: str = "transunet"  # one of REFERENCE_NETWORKS
    labelled_batch: int = 2  # slices a batch: as many labelled ones as under CPS (table 2)
    crop: int | None = None  # side of a random crop, pixels of the network grid; None keeps the canvas
    organ_share: float = 0.5  # share of slices drawn organ first, so that small organs are seen (not in the paper)
    smoothing: float = 1.0  # voxels added to both sides of the Dice fraction (section 2.2, which names no value)

    def __post_init__(self) -> None:
        require.one_of(REFERENCE_NETWORKS, self, "network")
        require.positive(self, "labelled_batch", "smoothing")
        if self.network == "deeplabv3plus":
            _enough_for_deeplab(self.labelled_batch)
        require.shares(self, "organ_share")
        _crop(self.crop)

    @property
    def unlabelled_batch(self) -> int:
        """Always 0: a batch is one of CPS without its unlabelled slices."""
        return 0

    @property
    def pseudo_batch(self) -> None:
        """Always None: cases with pseudo-labels join the labelled ones."""
        return None


@dataclass(frozen=True, kw_only=True)
class CPSConfig:
    """Cross pseudo supervision of the reference pair (paper, section 2.2). Raises ValueError on bad values."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = AUGMENTATIONS["paper"]
    labelled_batch: int = 2  # labelled slices a batch and process (table 2)
    unlabelled_batch: int = 2  # unlabelled slices a batch and process (table 2); 0 trains on labels alone
    pseudo_batch: int | None = None  # of the unlabelled slices, so many are learned from by pseudo-labels, where there
    # are any, and labelled slices are true ones; None: cases with pseudo-labels join the labelled ones (the paper)
    crop: int | None = None  # side of a random crop, pixels of the network grid; None keeps the canvas
    organ_share: float = 0.5  # share of labelled slices drawn organ first (not in the paper): small organs are seen
    smoothing: float = 1.0  # voxels added to both sides of the Dice fraction (section 2.2, which names no value)
    consistency: float = 0.1  # weight of the unsupervised loss after its ramp: SSL4MIS's value, the paper names none
    rampup: int | None = None  # iterations over which that weight grows (not in the paper); None: two fifths of all
    confidence: float = 0.0  # lowest probability of a pseudo-label that is learnt from; 0 takes all (the paper)

    def __post_init__(self) -> None:
        require.positive(self, "labelled_batch", "smoothing")
        require.at_least(0, self, "unlabelled_batch", "consistency", "rampup")
        if self.pseudo_batch is not None and not 0 < self.pseudo_batch <= self.unlabelled_batch:
            raise ValueError(
                f"pseudo_batch is 1 to {self.unlabelled_batch}, a batch's unlabelled slices, got {self.pseudo_batch}"
            )
        _enough_for_deeplab(self.labelled_batch + self.unlabelled_batch)
        require.shares(self, "organ_share", "confidence")
        _crop(self.crop)


@dataclass(frozen=True, kw_only=True)
class STCNTrainingConfig:
    """Training of the propagation network on clips of slices. Raises ValueError on bad values."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = AUGMENTATIONS["paper"]
    clips: int = 8  # clips a batch and process, three slices each (table 3)
    objects_per_clip: int = 1  # 1 is the paper's binary training; 2 shows organs that touch
    crop: int | None = None  # side of a crop around the organ, pixels of the network grid; None keeps the canvas
    first_gap_mm: float = 5.0  # longest way between neighbouring slices of a clip at the start (not in the paper)
    last_gap_mm: float = 25.0  # and from the middle of the training on
    between_share: float = 0.0  # share of clips whose last slice lies between the two in memory
    leave_out: tuple[str, ...] = ()  # organs that no clip follows and no validation scores; background where seen
    bootstrap_share: float = 0.15  # hardest share of voxels the cross-entropy keeps in the end (STCN's value)
    bootstrap_from: float = 0.13  # share of the iterations before which all voxels count
    bootstrap_until: float = 0.47  # share of the iterations from which only the hardest do

    def __post_init__(self) -> None:
        require.positive(self, "clips", "first_gap_mm", "bootstrap_share")
        if self.objects_per_clip not in (1, 2):
            raise ValueError(f"objects_per_clip is 1 or 2, got {self.objects_per_clip}")
        if self.last_gap_mm < self.first_gap_mm:
            raise ValueError(f"gaps do not shrink, got {self.first_gap_mm} to {self.last_gap_mm} mm")
        if not 0 <= self.bootstrap_from < self.bootstrap_until <= 1:
            raise ValueError(
                f"bootstrapping grows between two shares, got {self.bootstrap_from} and {self.bootstrap_until}"
            )
        require.shares(self, "between_share", "bootstrap_share")
        _crop(self.crop)


def _enough_for_deeplab(slices: int) -> None:
    """Its pyramid normalises the mean of each slice over the batch."""
    if slices < 2:
        raise ValueError(f"DeepLabV3+ learns from at least two slices a batch, got {slices}")


def _crop(crop: int | None) -> None:
    if crop is not None and (crop < 32 or crop % 32):
        raise ValueError(f"crop is a multiple of 32 pixels, got {crop}")
