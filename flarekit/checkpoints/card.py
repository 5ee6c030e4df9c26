"""What a checkpoint says of itself, in `card.json` beside its weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flarekit.config import toml
from flarekit.config.architecture import CONFIGS, DeepLabConfig, STCNConfig, TransUNetConfig
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.errors import CheckpointError
from flarekit.labels import LabelSet

FORMAT = 1
KINDS = ("reference", "propagation", "initialisation")
NetworkConfig = TransUNetConfig | DeepLabConfig | STCNConfig


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights and data came from: challenges have rules about both."""

    initialisation: str = "random"  # "random", or what the weights started from
    data: tuple[str, ...] = ()  # data sets seen in training, as names, never as paths
    pretrained_or_extra_data: bool = False  # True: FLARE's rules refuse such weights
    licence: str = "unspecified"  # terms under which the weights may be used
    notes: str = ""  # what a user must know: limits, attribution


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything inference needs to know of a checkpoint, and what a reader asks of it.

    Raises ValueError on a kind that does not exist or a version below 0.
    """

    kind: str  # "reference" (a CPS pair or one of its networks), "propagation" (an STCN), or "initialisation": a
    # network of which some parts are random, to train from and for nothing else
    name: str
    version: int = 0  # given by the registry when published
    networks: dict[str, NetworkConfig]  # architecture of each network, by name
    preprocessing: PreprocessingConfig
    labels: LabelSet
    training: dict[str, Any] = field(default_factory=dict)  # the training configuration, whole
    metrics: dict[str, Any] = field(default_factory=dict)  # validation scores
    provenance: Provenance = field(default_factory=Provenance)
    parents: tuple[str, ...] = ()  # what it was fine-tuned from, and whose pseudo-labels it learned from, NAME@VERSION
    created: str = ""  # UTC date and time, ISO 8601
    flarekit_version: str = ""
    weights_sha256: str = ""  # of weights.safetensors

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {KINDS}, got {self.kind!r}")
        if self.version < 0:
            raise ValueError(f"versions count from 1, got {self.version}")

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"

    def require_allowed_in_challenge(self) -> None:
        """Raises CheckpointError where the weights, or those they come from, saw more than a challenge's own data."""
        seen = self.provenance
        if seen.pretrained_or_extra_data:
            source = "; ".join((f"started from {seen.initialisation}", *seen.data))
            raise CheckpointError(
                f"{self.reference} is pretrained or saw extra data, which --challenge refuses ({source})",
                remedy="Use a checkpoint trained from random weights on the challenge's own data.",
            )

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that `read_card` understands."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return (
            {"format": FORMAT}
            | data
            | {
                "networks": {name: toml.to_dict(config) for name, config in self.networks.items()},
                "preprocessing": toml.to_dict(self.preprocessing),
                "labels": self.labels.to_json(),
                "provenance": toml.to_dict(self.provenance),
                "parents": list(self.parents),
            }
        )


def read_card(path: Path) -> Card:
    """The card in a file. Raises CheckpointError when it is missing, damaged, or of a newer format."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        number = data.pop("format")
        if number != FORMAT:
            raise CheckpointError(
                f"has format {number}, this flarekit reads {FORMAT}", where=path, remedy="Update flarekit."
            )
        networks = {n: toml.from_dict(CONFIGS[n], c) for n, c in data["networks"].items()}
        return toml.from_dict(Card, data | {"networks": networks})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"is not a checkpoint's card ({error})",
            where=path,
            remedy="Import the checkpoint again, or remove it with `flarekit models rm`.",
        ) from error
