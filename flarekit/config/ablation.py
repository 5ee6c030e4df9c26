"""An ablation: what its rows are trained and segmented with, on which cases (paper, table 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flarekit.config import require, toml
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.consensus import ConsensusConfig
from flarekit.config.preprocessing import WINDOWS
from flarekit.config.segment import SegmentConfig
from flarekit.config.training import AUGMENTATIONS, CPSConfig, STCNTrainingConfig
from flarekit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AblationData:
    """The cases of an ablation. Paths are relative to the current folder."""

    images: Path  # CTs to score the rows on: a folder, or one file
    labels: Path  # their true label maps
    dataset: Path | None = None  # dataset.json, where these are labelled for some organs only
    labelled: tuple[Path, ...] = ()  # slice stores to train on
    unlabelled: tuple[Path, ...] = ()  # slice stores without labels, for CPS and pseudo-labels
    unlabelled_images: tuple[Path, ...] = ()  # the CTs in these stores, for pseudo-labels to be made on
    validation: Path | None = None  # slice store to validate on; None holds a part of the labelled cases back


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One row of the table. Raises ValueError on a name or windows that cannot be."""

    name: str  # what the table calls it
    model: str | None = None  # checkpoint to segment with; None trains one as the next three fields say
    cps: bool = True  # train on unlabelled slices too; without it the same pair of networks on labels alone
    windows: str = "paper"  # window preset of the reference networks; "none" is one wide range of HU
    pseudo_labels: bool = False  # train again with the masks that several such models agree on
    propagation: bool = False  # segment a few slices and propagate them; without it, every slice
    segment: SegmentConfig = field(default_factory=SegmentConfig)  # with propagation: which slices, and how

    def __post_init__(self) -> None:
        if not self.name.strip() or "|" in self.name or not self.name.isprintable():
            raise ValueError(f"a row's name has letters and no '|', got {self.name!r}")
        require.one_of(WINDOWS, self, "windows")


PAPER_ROWS = (
    AblationRow(name="supervised", cps=False, windows="none"),
    AblationRow(name="+ CPS", windows="none"),
    AblationRow(name="+ windowing"),  # ours: the paper adds it together with the next
    AblationRow(name="+ uncertainty", pseudo_labels=True),
    AblationRow(name="+ propagation", pseudo_labels=True, propagation=True),
)


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """A whole ablation. Raises ValueError where rows and cases do not fit together."""

    data: AblationData
    arch: str = "paper"  # network sizes and their preprocessing
    device: str = "auto"  # where to compute
    propagation_model: str | None = None  # checkpoint that masks are propagated with; None trains one
    models: int = 3  # models whose agreement makes pseudo-labels; the first one's seed is the training's
    tolerance: str | None = None  # of NSD in mm, as `evaluate masks --tolerance`
    training: CPSConfig = field(default_factory=CPSConfig)  # of every reference pair
    stcn: STCNTrainingConfig = field(default_factory=STCNTrainingConfig)  # of the propagation network
    consensus: ConsensusConfig = field(default_factory=ConsensusConfig)  # which pseudo-labels are trusted
    rows: tuple[AblationRow, ...] = PAPER_ROWS

    def __post_init__(self) -> None:
        require.one_of(ARCHITECTURES, self, "arch")
        require.at_least(2, self, "models")
        names = [row.name for row in self.rows]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"rows have a name each, got {names}")
        for row in self.rows:
            self._require_cases(row)

    @property
    def trains(self) -> bool:
        """Whether a network is trained for any row."""
        return any(row.model is None or (row.propagation and self.propagation_model is None) for row in self.rows)

    def _require_cases(self, row: AblationRow) -> None:
        if self.trains and not self.data.labelled:
            raise ValueError("data.labelled names no store to train on")
        if row.model is not None:
            return
        if row.cps and not self.training.unlabelled_batch:
            raise ValueError(f"row {row.name!r} trains by CPS, and training.unlabelled_batch is 0")
        if not row.cps and self.training.labelled_batch < 2:
            raise ValueError(f"row {row.name!r} learns from labels alone: DeepLabV3+ needs two slices a batch")
        if (row.cps or row.pseudo_labels) and not self.data.unlabelled:
            raise ValueError(f"row {row.name!r} needs data.unlabelled")
        if row.pseudo_labels and not self.data.unlabelled_images:
            raise ValueError(f"row {row.name!r} needs data.unlabelled_images")
        if row.pseudo_labels and (self.consensus.layout != "plain" or self.consensus.score == "instability"):
            raise ValueError("consensus has the layout plain, and a score that needs no round before")


def read_ablation(path: Path) -> AblationConfig:
    """The ablation that a TOML file describes. Raises InputError that names file and setting."""
    data = toml.read(path)
    try:
        for section in ("training", "stcn"):
            _spell_out_augmentation(data.get(section))
        return toml.from_dict(AblationConfig, data)
    except ValueError as error:
        raise InputError(str(error), where=path, remedy="examples/ablate.toml explains every setting.") from error


def _spell_out_augmentation(section: Any) -> None:
    """An augmentation may be named, as `train --augmentation` does."""
    if isinstance(section, dict) and isinstance(name := section.get("augmentation"), str):
        if name not in AUGMENTATIONS:
            raise ValueError(f"augmentation is one of {', '.join(AUGMENTATIONS)}, got {name!r}")
        section["augmentation"] = toml.to_dict(AUGMENTATIONS[name])
