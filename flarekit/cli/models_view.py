"""What `flarekit models show` prints: a card, or an architecture's parameters and operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from flarekit.checkpoints import Card, Registry
from flarekit.checkpoints.card import NetworkConfig
from flarekit.checkpoints.lineage import Ancestor, lineage
from flarekit.cli import console
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING
from flarekit.errors import UsageError
from flarekit.models import build, parameters_by_part, step_costs

View = tuple[dict[str, Any], list[Table]]


def card_view(reference: str, size: int | None) -> View:
    """A checkpoint's card and its networks' costs. Raises CheckpointError."""
    ancestors = list(lineage(Registry.default(), reference))
    card = ancestors[0].card
    assert card is not None
    networks, tables = _networks_view(card.networks, size or card.preprocessing.canvas)
    ancestry, table = _lineage_view(ancestors)
    shown = [_facts(card), *([table] if len(ancestors) > 1 else []), *_scores(card), *tables]
    return card.to_json() | {"lineage": ancestry, "costs": networks}, shown


def architecture_view(name: str, size: int | None) -> View:
    """The costs of an architecture's networks. Raises UsageError when there is none of that name."""
    if name not in ARCHITECTURES:
        raise UsageError(f"unknown architecture {name!r}", remedy=f"Known: {', '.join(ARCHITECTURES)}.")
    preset = ARCHITECTURES[name]
    configs = {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset)}
    networks, tables = _networks_view(configs, size or PREPROCESSING[name].canvas)
    return {"architecture": name, "costs": networks}, tables


def _networks_view(configs: dict[str, NetworkConfig], size: int) -> View:
    costs, steps = {}, []
    parts: list[tuple[str | Text, str | Text]] = []
    for name, config in configs.items():
        with torch.device("meta"):
            network = build(config)
        parameters = parameters_by_part(network)
        operations = step_costs(network, size, size)
        costs[name] = {
            "parameters": sum(parameters.values()),
            "parameters_by_part": parameters,
            "gmacs": {cost.step: cost.gmacs for cost in operations},
            "gflops": {cost.step: cost.gflops for cost in operations},
            "slice_px": size,
        }
        parts += [(f"{name}: {part}", f"{count:,}") for part, count in parameters.items()]
        parts.append((Text(name, style="bold"), Text(f"{sum(parameters.values()):,}", style="bold")))
        steps += [(f"{name}: {c.step}", f"{c.gmacs:.2f}", f"{c.gflops:.2f}") for c in operations]
    tables = [
        console.table("Parameters", ("part", "parameters"), parts),
        console.table(f"Operations on a slice of {size} x {size}", ("step", "GMAC", "GFLOP"), steps),
    ]
    return costs, tables


def _facts(card: Card) -> Table:
    windows = ", ".join(f"{low:g}..{high:g}" for low, high in card.preprocessing.windows.ranges_hu)
    spacing = card.preprocessing.spacing_mm
    rows = [
        ("kind", card.kind),
        ("organs", ", ".join(card.labels.names)),
        ("windows, HU", windows),
        ("in-plane spacing", "native" if spacing is None else f"{spacing} mm"),
        ("normalisation", card.preprocessing.normalisation),
        ("initialisation", card.provenance.initialisation),
        ("trained on", "; ".join(card.provenance.data) or "not said"),
        (
            "in a challenge",
            "refused: pretrained or extra data" if card.provenance.pretrained_or_extra_data else "allowed",
        ),
        ("parents", ", ".join(card.parents) or "none"),
        ("licence", card.provenance.licence),
        ("notes", card.provenance.notes),
        ("created", card.created),
        ("SHA-256", card.weights_sha256),
    ]
    table = console.table(card.reference, ("what", "value"), rows)
    table.columns[1].justify = "left"
    return table


def _lineage_view(ancestors: Sequence[Ancestor]) -> tuple[list[dict[str, Any]], Table]:
    """How each of a checkpoint's ancestors was trained, the checkpoint first."""
    entries = [_ancestry(ancestor) for ancestor in ancestors]
    rows = [
        (f"{'  ' * e['generation']}{e['checkpoint']}", e["made"] or "not in this registry", e["from"], e["dice"])
        for e in entries
    ]
    table = console.table("Lineage", ("checkpoint", "made by", "from", "validation Dice"), rows)
    table.columns[1].justify = table.columns[2].justify = "left"
    return entries, table


def _ancestry(ancestor: Ancestor) -> dict[str, Any]:
    card = ancestor.card
    entry = {"checkpoint": ancestor.reference, "generation": ancestor.generation, "known": card is not None}
    if card is None:
        return entry | {"made": None, "from": None, "dice": None}
    source = ", ".join(card.parents) or card.provenance.initialisation
    return entry | {"made": _made(card.training), "from": source, "dice": card.metrics.get("dice")}


def _made(training: dict[str, Any]) -> str:
    """What a card's `training` says in short."""
    command = training.get("command")
    iterations = training.get("training", training).get("loop", training).get("iterations")
    words = [f"train {command}"] if command else []
    words += [f"{iterations} iterations"] if iterations else []
    return ", ".join(words) or "import"


def _scores(card: Card) -> list[Table]:
    organs = card.metrics.get("organs", {})
    if not organs:
        return []
    rows = [*organs.items(), ("mean", card.metrics.get("dice"))]
    return [console.table("Validation", ("organ", "Dice"), rows)]
