"""What the starter weights are made with: how much is painted, and which trainings follow each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flarekit.config import toml
from flarekit.config.training import AUGMENTATIONS, CPSConfig, STCNTrainingConfig
from flarekit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training in a row of them."""

    name: str
    minutes: float  # it is expected to take
    config: CPSConfig | STCNTrainingConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How much is painted, and what is trained: recipe.toml."""

    arch: str  # sizes of all networks
    seeds: tuple[int, ...]  # of the pairs; the first is the one that `segment` uses
    paint: Mapping[str, Any]  # cases by part, the options they are painted with, and the minutes they take
    pair: tuple[Stage, ...]  # of every pair
    stcn: tuple[Stage, ...]

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Raises InputError."""
        data = toml.read(path)
        try:
            return cls(
                arch=data["arch"],
                seeds=tuple(data["seeds"]),
                paint=data["paint"],
                pair=stages(data["pair"], CPSConfig),
                stcn=stages(data["stcn"], STCNTrainingConfig),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"is no recipe ({error})", where=path, remedy="Compare it with recipe.toml.") from error


def stages(section: Mapping[str, Any], kind: type[CPSConfig] | type[STCNTrainingConfig]) -> tuple[Stage, ...]:
    """The stages of a section: its own settings under those of each stage."""
    shared = {key: value for key, value in section.items() if key != "stages"}
    return tuple(_stage(shared, dict(own), kind) for own in section["stages"])


def _stage(shared: Mapping[str, Any], own: dict[str, Any], kind: type[CPSConfig] | type[STCNTrainingConfig]) -> Stage:
    name, minutes = own.pop("name"), own.pop("minutes")
    given: dict[str, Any] = {**shared, **own}
    for part in ("loop", "optimiser"):
        given[part] = {**shared.get(part, {}), **own.get(part, {})}
    given["augmentation"] = toml.to_dict(AUGMENTATIONS[given["augmentation"]])
    return Stage(name=name, minutes=minutes, config=toml.from_dict(kind, given, prefix=f"{name}."))
