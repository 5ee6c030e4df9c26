"""Rounds of training and pseudo-labelling in turn (paper, section 2.2): what a TOML file for `selftrain run` says.

Its tables: [data] the CTs; [rounds] how many and when to stop; [train] options of `flarekit train cps`; [consensus]
options of `flarekit pseudolabel`; and, where they are wanted, [control] and [test]. Options have their names on the
command line with underscores; lists take the place of options that are repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flarekit.config import require, toml
from flarekit.config.consensus import ConsensusConfig
from flarekit.config.reference import BACKENDS
from flarekit.config.run import RunSettings
from flarekit.config.training import AUGMENTATIONS, AugmentationConfig, CPSConfig, LoopConfig, OptimiserConfig
from flarekit.errors import InputError

STARTS = ("previous", "scratch")
_OPTIONS = {  # of the tables that gather options of another command, by the configuration that holds them
    "train": {
        "run": ("arch", "windows", "init", "encoder_weights", "challenge", "tensorboard"),
        "loop": tuple(f.name for f in fields(LoopConfig) if f.name != "seed"),
        "optimiser": tuple(f.name for f in fields(OptimiserConfig)),
        "cps": tuple(f.name for f in fields(CPSConfig) if f.name not in ("loop", "optimiser", "augmentation")),
        "augmentation": ("augmentation", "mirror"),
    },
    "consensus": {
        "votes": tuple(f.name for f in fields(ConsensusConfig)),
        "labelling": ("propagation_model", "predictions", "backend", "workers", "scheduler"),
    },
}
_INTERNAL = ("run", "training", "labelling")  # fields that are filled from these tables


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the CTs lie: data sets, volumes or folders of them, as `preprocess` takes them. Raises ValueError."""

    labelled: tuple[Path, ...]
    unlabelled: tuple[Path, ...]  # labels beside them are not looked at
    validation: tuple[Path, ...] = ()  # none: model k of n is validated on part k of n of the labelled cases
    dataset: Path | None = None  # a dataset.json that names the organs in place of the data sets' own
    hu_offset: str = "auto"  # what is taken off all CTs' values to make them HU
    workers: int = 0  # processes that store cases

    def __post_init__(self) -> None:
        for role in ("labelled", "unlabelled"):
            if not getattr(self, role):
                raise ValueError(f"data.{role} names no folder")
        require.at_least(0, self, "workers", table="data.")


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """How many rounds, of how many models, from which weights. Raises ValueError on what cannot be."""

    number: int = 2  # rounds at most, the first one included
    models: int = 3  # CPS pairs a round; their masks are compared
    first: tuple[str, ...] = ()  # trained checkpoints, NAME@VERSION, that serve as the first round's models
    start: str = "previous"  # later rounds: "previous" fine-tunes the last round's models, "scratch" starts anew
    seed: int = 0  # of the first model; every further model of any round has the next one
    patience: int | None = None  # stop when so many rounds in a row have not raised validation Dice; None never does

    def __post_init__(self) -> None:
        require.one_of(STARTS, self, "start", table="rounds.")
        require.at_least(1, self, "number", "patience", table="rounds.")
        require.at_least(0, self, "seed", table="rounds.")
        if self.models < 2:
            raise ValueError(f"rounds.models is at least 2, masks are compared, got {self.models}")
        if self.first and len(set(self.first)) != self.models:
            raise ValueError(f"rounds.first names {len(self.first)} checkpoints, rounds.models says {self.models}")


@dataclass(frozen=True, kw_only=True)
class LabellingConfig:
    """Who labels besides the round's models, and where. Raises ValueError on an unknown backend."""

    propagation_model: str | None = None  # the models label a few slices, and this checkpoint carries them on
    predictions: tuple[str, ...] = ()  # folders of finished label maps that vote too, FOLDER or NAME=FOLDER
    backend: str = BACKENDS[0]  # what runs the reference modules
    workers: int = 0  # processes
    scheduler: str | None = None  # of a dask.distributed cluster, in place of workers

    def __post_init__(self) -> None:
        require.one_of(BACKENDS, self, "backend", table="consensus.")
        require.at_least(0, self, "workers", table="consensus.")


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """The same number of iterations without pseudo-labels, for comparison. Raises ValueError on a negative number."""

    models: int | None = None  # so many of a round's models have a control; None: all

    def __post_init__(self) -> None:
        require.at_least(1, self, "models", table="control.")


@dataclass(frozen=True, kw_only=True)
class FinalTestConfig:
    """Cases that every round's models are scored on once, at the end. Raises ValueError without any."""

    cases: tuple[Path, ...]  # data sets with labels

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("test.cases names no data set")


@dataclass(frozen=True, kw_only=True)
class SelftrainConfig:
    """Everything about a run of rounds. Raises ValueError on what cannot be."""

    name: str  # what checkpoints are called after: NAME-r1-m1 is the first round's first model
    folder: Path = Path("selftrain")  # for everything but the checkpoints
    device: str = "auto"
    data: DataConfig
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    run: RunSettings = field(default_factory=RunSettings)  # of every training; name and stores are the rounds'
    training: CPSConfig = field(default_factory=CPSConfig)  # of every training; the seed is the rounds'
    consensus: ConsensusConfig = field(default_factory=ConsensusConfig)
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    control: ControlConfig | None = None
    test: FinalTestConfig | None = None

    def __post_init__(self) -> None:
        if self.control and (self.control.models or 0) > self.rounds.models:
            raise ValueError(f"control.models is at most {self.rounds.models}, got {self.control.models}")


def read_selftrain(path: Path) -> SelftrainConfig:
    """The configuration in a TOML file. Raises InputError that names the key which is wrong."""
    data = toml.read(path)
    try:
        return _from_tables(data)
    except ValueError as error:
        raise InputError(str(error), where=path, remedy="`flarekit selftrain run --help` explains.") from error


def _from_tables(data: Mapping[str, Any]) -> SelftrainConfig:
    if unknown := sorted(set(data) - set(_tables())):
        raise ValueError(f"unknown settings {unknown}; known are {_tables()}")
    config = toml.from_dict(SelftrainConfig, {key: value for key, value in data.items() if key not in _OPTIONS})
    train, consensus = _sorted("train", data), _sorted("consensus", data)
    loop = toml.from_dict(LoopConfig, train["loop"], prefix="train.")
    optimiser = toml.from_dict(OptimiserConfig, train["optimiser"], prefix="train.")
    cps = toml.from_dict(CPSConfig, train["cps"], prefix="train.")
    return replace(
        config,
        run=toml.from_dict(RunSettings, train["run"], prefix="train."),
        training=replace(cps, loop=loop, optimiser=optimiser, augmentation=_augmentation(train["augmentation"])),
        consensus=toml.from_dict(ConsensusConfig, consensus["votes"], prefix="consensus."),
        labelling=toml.from_dict(LabellingConfig, consensus["labelling"], prefix="consensus."),
    )


def _sorted(table: str, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of a table by the part that knows them. Raises ValueError on one that none knows."""
    given, parts = data.get(table, {}), _OPTIONS[table]
    if not isinstance(given, dict):
        raise ValueError(f"{table} has settings by name, got {given!r}")
    known = sorted(name for names in parts.values() for name in names)
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"unknown settings {[f'{table}.{name}' for name in unknown]}; known are {known}")
    return {part: {name: given[name] for name in names if name in given} for part, names in parts.items()}


def _augmentation(given: Mapping[str, Any]) -> AugmentationConfig:
    """The preset that is named, with the mirroring that is asked for. Raises ValueError."""
    name = given.get("augmentation", "paper")
    if name not in AUGMENTATIONS:
        raise ValueError(f"train.augmentation is one of {', '.join(AUGMENTATIONS)}, got {name!r}")
    return replace(AUGMENTATIONS[name], mirror=given.get("mirror", AUGMENTATIONS[name].mirror))


def _tables() -> list[str]:
    return sorted(({f.name for f in fields(SelftrainConfig)} - set(_INTERNAL)) | set(_OPTIONS))
