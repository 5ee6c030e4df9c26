"""A training run but for its recipe: what it is called, what it reads, which networks it starts from, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from flarekit.config import require
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import WINDOWS


@dataclass(frozen=True, kw_only=True)
class Stores:
    """The slice stores a run reads, and how validation cases are found. Raises ValueError on what cannot be.

    A store may hold labelled and unlabelled cases side by side.
    """

    labelled: tuple[Path, ...] = ()  # their unlabelled cases are used as such
    unlabelled: tuple[Path, ...] = ()  # labels in them are not looked at
    pseudo_labels: tuple[Path, ...] = ()  # folders of `pseudolabel`: labels of unlabelled cases; the last one's count
    validation: Path | None = None  # None takes the cases to validate on from the labelled ones
    fold: str | None = None  # "2/5": those of the second of five parts, which do not depend on the seed
    held_back: float = 0.1  # without a fold, this share of them; at least one of two or more cases, 0 for none

    def __post_init__(self) -> None:
        if self.fold is not None:
            parse_fold(self.fold)
            if self.validation is not None:
                raise ValueError("fold and validation both say what to validate on, give one of them")
        if not 0 <= self.held_back < 1:
            raise ValueError(f"held_back is a share from 0 to below 1, got {self.held_back}")

    @property
    def all(self) -> tuple[Path, ...]:
        """Every folder, in the order labelled, unlabelled, validation."""
        return (*self.labelled, *self.unlabelled, *([self.validation] if self.validation is not None else []))


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is called, what it reads, and where it starts and computes. Raises ValueError on unknown names."""

    name: str = ""  # of the run's folder and of the published checkpoint
    arch: str = "paper"  # network sizes and their preprocessing; with `init`, of networks that it does not hold
    windows: str | None = None  # window preset in place of the one that comes with `arch` or `init`
    init: str | None = None  # checkpoint to fine-tune, NAME[@VERSION]; of several, separated by commas, their networks
    encoder_weights: str | None = None  # ImageNet weights of DeepLabV3+'s encoder: a name of timm's, or a file
    runs: Path = Path("runs")  # folder of run folders
    device: str = "auto"  # where to compute
    challenge: bool = False  # refuse weights that a challenge's rules forbid
    tensorboard: bool = False  # write TensorBoard events beside metrics.jsonl
    stores: Stores = field(default_factory=Stores)

    def __post_init__(self) -> None:
        require.one_of(ARCHITECTURES, self, "arch")
        require.one_of(WINDOWS, self, "windows")


def parse_fold(fold: str) -> tuple[int, int]:
    """(number, count), counted from 1, of a fold such as "2/5". Raises ValueError."""
    match = re.fullmatch(r"(\d+)/(\d+)", fold)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if count < 2 or not 1 <= number <= count:
        raise ValueError(f"fold is K/N with N of at least 2 and K in 1..N, such as 1/5, got {fold!r}")
    return number, count
