"""Configurations as TOML and as plain dictionaries, both ways, checked against the dataclass's fields."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from flarekit.errors import InputError
from flarekit.files import input_errors

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A nested plain dictionary of a configuration; fields that are None are left out (TOML has no null)."""
    return {
        field.name: _plain(value)
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) is not None
    }


def unset(config: Any, *, prefix: str = "") -> list[str]:
    """Dotted names of the fields that are None, which `to_dict` leaves out."""
    found = []
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found += unset(value, prefix=f"{name}.")
        elif value is None:
            found.append(name)
    return found


def from_dict(kind: type[T], data: dict[str, Any], *, prefix: str = "") -> T:
    """A configuration from what `to_dict` gave. Raises ValueError on unknown or missing fields and wrong types.

    A field that is missing takes its default, or None where None is allowed. `prefix` ("loop.") is what messages
    put before a field's name.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{prefix.rstrip('.') or kind.__name__} has settings by name, got {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(fields)):
        raise ValueError(f"unknown settings {[prefix + name for name in unknown]}; known are {sorted(fields)}")
    values = {name: _typed(hints[name], data[name], f"{prefix}{name}") for name in fields if name in data}
    for name in fields:
        if name not in values and type(None) in typing.get_args(hints[name]):
            values[name] = None
    if missing := sorted(name for name, field in fields.items() if name not in values and _is_required(field)):
        raise ValueError(f"{[prefix + name for name in missing]} missing")
    return kind(**values)


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = (), prefix: str = ""
) -> list[str]:
    """Where two nested dictionaries differ, as "NAME was 1 and is 2"; dotted names in `free` are not looked at."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        name, old, new = f"{prefix}{key}", before.get(key), now.get(key)
        if name in free:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, free=free, prefix=f"{name}.")
        elif old != new:
            found.append(f"{name} was {old!r} and is {new!r}")
    return found


def completed(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dictionary with what it lacks, as it was written before there was such a setting, from another."""
    inner = {
        key: completed(value, below)
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(below := defaults.get(key), dict)
    }
    return {**defaults, **given, **inner}


def dumps(data: dict[str, Any], *, prefix: str = "") -> str:
    """TOML text of a nested dictionary of strings, numbers, booleans, lists and dictionaries."""
    lines = [f"{key} = {_scalar(value)}" for key, value in data.items() if not isinstance(value, dict)]
    for key, value in data.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{key}]", dumps(value, prefix=f"{prefix}{key}.")]
    return "\n".join(lines).strip("\n")


def read(path: Path) -> dict[str, Any]:
    """The contents of a TOML file. Raises InputError."""
    try:
        with input_errors(path):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"is not valid TOML ({error})", where=path, remedy="Mend that line, or put the original file back."
        ) from error


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _typed(hint: Any, value: Any, name: str) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, prefix=f"{name}.")
    if typing.get_origin(hint) is tuple:
        return _tuple(hint, value, name)
    if typing.get_origin(hint) is dict:
        hint = dict
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ValueError(f"{name} is a {hint.__name__}, got {value!r}")
    return value


def _tuple(hint: Any, value: Any, name: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is a list, got {value!r}")
    items = typing.get_args(hint)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_typed(items[0], item, name) for item in value)
    if len(items) != len(value):
        raise ValueError(f"{name} has {len(items)} values, got {value!r}")
    return tuple(_typed(item, entry, name) for item, entry in zip(items, value, strict=True))
