"""What a checkpoint came from, generation by generation, as far as the registry knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flarekit.checkpoints.card import Card
from flarekit.checkpoints.registry import Registry
from flarekit.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A checkpoint in a lineage."""

    reference: str  # NAME@VERSION
    generation: int  # 0 is the checkpoint asked for, 1 its parents
    card: Card | None  # None where the registry does not have it, or has it damaged


def lineage(registry: Registry, reference: str) -> Iterator[Ancestor]:
    """The checkpoint, its parents, their parents and so on, each once, where it first appears.

    Raises CheckpointError when the checkpoint itself is unknown or damaged.
    """
    youngest = registry.card(reference)
    seen, generation = {youngest.reference}, [Ancestor(reference=youngest.reference, generation=0, card=youngest)]
    while generation:
        yield from generation
        parents = [parent for child in generation if child.card for parent in child.card.parents]
        new = [parent for parent in dict.fromkeys(parents) if parent not in seen]
        seen.update(new)
        older = generation[0].generation + 1
        generation = [Ancestor(reference=name, generation=older, card=_card(registry, name)) for name in new]


def _card(registry: Registry, reference: str) -> Card | None:
    try:
        return registry.card(reference)
    except CheckpointError:
        return None
