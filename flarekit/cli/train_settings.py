"""What a run of `flarekit train` is set to: defaults, under the file of --config, under the options given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer

from flarekit.config import toml
from flarekit.config.run import RunSettings
from flarekit.config.training import AUGMENTATIONS, LoopConfig, OptimiserConfig
from flarekit.errors import InputError, UsageError

T = TypeVar("T")

FORMAT = 2  # of the files that runs write
_NOT_SETTINGS = frozenset({"config", "resume", "json"})
_SECTIONS = {  # options by the section of the file that they belong to; all others are the training's own
    **dict.fromkeys(("name", "arch", "windows", "init", "encoder_weights", "challenge"), ()),
    **dict.fromkeys(("runs", "device", "tensorboard"), ()),
    **dict.fromkeys(("labelled", "unlabelled", "pseudo_labels", "validation", "fold"), ("stores",)),
    **dict.fromkeys(LoopConfig.__dataclass_fields__, ("training", "loop")),
    **dict.fromkeys(OptimiserConfig.__dataclass_fields__, ("training", "optimiser")),
    "mirror": ("training", "augmentation"),
}


def run_settings(context: typer.Context, recipe: type[T]) -> tuple[RunSettings, T]:
    """The settings of a run and of its training, of the type `recipe`.

    Raises InputError that names file and key where the file is wrong, UsageError where the options are.
    """
    command, path = str(context.info_name), context.params["config"]
    filed = {} if path is None else _read(path, command)
    if path is not None:
        try:
            filed = _with_preset(filed)
            _build(filed, recipe)
        except ValueError as error:
            raise InputError(str(error), where=path, remedy="Mend it; `flarekit train --help` explains.") from error
    try:
        settings, config = _build(_merged(filed, _given(context)), recipe)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for option, value in (("--name", settings.name), ("--labelled", settings.stores.labelled)):
        if not value:
            raise UsageError(f"{option} is missing", remedy="Give it as an option, or in the file of --config.")
    return settings, config


def _read(path: Path, command: str) -> dict[str, Any]:
    """The settings in a file. What a run found is left out, and what it was checked against."""
    data = toml.read(path)
    data.pop("found", None)
    number, trained = data.pop("format", FORMAT), data.pop("command", command)
    if number != FORMAT:
        raise InputError(f"has format {number}, this flarekit reads {FORMAT}", where=path, remedy="Write it anew.")
    if trained != command:
        raise InputError(f"is of `train {trained}`", where=path, remedy=f"Pass it to `flarekit train {trained}`.")
    return data


def _given(context: typer.Context) -> dict[str, Any]:
    """The options on the command line, nested as in a file."""
    nested: dict[str, Any] = {}
    for option, value in sorted(context.params.items()):  # so that augmentation comes before mirror, its part
        source = context.get_parameter_source(option)
        if option in _NOT_SETTINGS or source is None or source.name != "COMMANDLINE":
            continue
        section = nested
        for name in _SECTIONS.get(option, ("training",)):
            section = section.setdefault(name, {})
        section[option] = _read_value(option, value)
    return nested


def _read_value(option: str, value: Any) -> Any:
    """What a file says in place of an option's value: presets spelt out, names in a list."""
    if option == "augmentation":
        return _preset(value)
    if option == "leave_out":
        return [organ.strip() for organ in value.split(",") if organ.strip()]
    return value


def _with_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings; an augmentation that is named is spelt out."""
    training = data.get("training")
    if not isinstance(training, dict) or not isinstance(name := training.get("augmentation"), str):
        return dict(data)
    return {**data, "training": {**training, "augmentation": _preset(name)}}


def _preset(name: str) -> dict[str, Any]:
    if name not in AUGMENTATIONS:
        raise ValueError(f"augmentation is one of {', '.join(AUGMENTATIONS)}, got {name!r}")
    return toml.to_dict(AUGMENTATIONS[name])


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; where both have a setting, that of `over`."""
    merged = dict(under)
    for key, value in over.items():
        below = under.get(key)
        merged[key] = _merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def _build(data: Mapping[str, Any], recipe: type[T]) -> tuple[RunSettings, T]:
    """Raises ValueError that names the setting."""
    training = data.get("training", {})
    settings = toml.from_dict(RunSettings, {key: value for key, value in data.items() if key != "training"})
    return settings, toml.from_dict(recipe, training, prefix="training.")
