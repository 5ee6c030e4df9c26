"""The checkpoints of a run: named once, loaded where the work is done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from flarekit.checkpoints import Card, Loaded, Registry
from flarekit.labels import LabelSet
from flarekit.reference import ReferenceModule
from flarekit.reference.predict import require_backend


@dataclass(frozen=True, kw_only=True)
class SegmentModels:
    """The checkpoints of a run, on its device."""

    reference: ReferenceModule
    propagation: Loaded | None  # None: the reference module on every slice

    @property
    def cards(self) -> dict[str, Card]:
        """By the part they play."""
        cards = {"reference": self.reference.card}
        return cards if self.propagation is None else cards | {"propagation": self.propagation.card}


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which checkpoints to load from the default registry, and what runs them."""

    reference: Card
    propagation: Card | None
    device: str
    backend: str

    @classmethod
    def of(
        cls,
        reference: str,
        propagation: str | None,
        device: torch.device,
        *,
        challenge: bool = False,
        backend: str = "torch",
    ) -> ModelChoice:
        """The checkpoints NAME or NAME@VERSION; no weights are read yet. `backend` runs the reference module.

        `challenge` refuses those that a challenge's rules do not allow. Raises CheckpointError, or UsageError for a
        backend that does not run on the device.
        """
        require_backend(backend, device)
        registry = Registry.default()
        return cls(
            reference=registry.card(reference, kind="reference", challenge=challenge),
            propagation=registry.card(propagation, kind="propagation", challenge=challenge) if propagation else None,
            device=str(device),
            backend=backend,
        )

    @property
    def labels(self) -> LabelSet:
        """The organs that are segmented."""
        return self.reference.labels

    @property
    def cards(self) -> dict[str, Card]:
        """By the part they play."""
        cards = {"reference": self.reference}
        return cards if self.propagation is None else cards | {"propagation": self.propagation}

    def load(self) -> SegmentModels:
        """The networks; those that were loaded last are not loaded again. Raises CheckpointError."""
        weights = tuple((card.reference, card.weights_sha256) for card in self.cards.values())
        return _loaded(weights, self.device, self.backend)


@lru_cache(maxsize=1)
def _loaded(weights: tuple[tuple[str, str], ...], device: str, backend: str) -> SegmentModels:
    (reference, _), *propagation = weights
    registry = Registry.default()
    return SegmentModels(
        reference=ReferenceModule(
            registry.load(reference, kind="reference"), device=torch.device(device), backend=backend
        ),
        propagation=registry.load(propagation[0][0], kind="propagation") if propagation else None,
    )
