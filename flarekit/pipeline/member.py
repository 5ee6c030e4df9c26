"""A checkpoint with the propagation behind it, as a member of a consensus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flarekit.checkpoints import Loaded, Registry
from flarekit.config.segment import SegmentConfig
from flarekit.consensus import MemberEntry, Vote
from flarekit.consensus.members import require_weights
from flarekit.consensus.spool import replayed
from flarekit.labels import LabelSet
from flarekit.pipeline.segment import segment
from flarekit.reference import ReferenceModule
from flarekit.volumes import Volume


@dataclass(frozen=True, kw_only=True)
class ChainSource:
    """A reference checkpoint that labels a few slices, and a propagation checkpoint that carries them to the others."""

    entry: MemberEntry
    labels: LabelSet
    reference: str  # NAME@VERSION
    propagation: str  # NAME@VERSION
    device: str = "cpu"
    backend: str = "torch"
    challenge: bool = False  # refuse weights that a challenge's rules do not allow

    @classmethod
    def of(
        cls,
        reference: str,
        propagation: str,
        *,
        device: str = "cpu",
        backend: str = "torch",
        challenge: bool = False,
    ) -> ChainSource:
        """Two checkpoints NAME or NAME@VERSION of the default registry. Raises CheckpointError."""
        first, second = Registry.default().card(reference), Registry.default().card(propagation)
        entry = MemberEntry(
            name=f"{first.reference}+{second.reference}",
            kind="chain",
            weights_sha256=first.weights_sha256,
            propagation_sha256=second.weights_sha256,
        )
        return cls(
            entry=entry,
            labels=first.labels,
            reference=first.reference,
            propagation=second.reference,
            device=device,
            backend=backend,
            challenge=challenge,
        )

    def file_of(self, case: str) -> Path | None:
        """None: it looks at the CT."""
        return None

    def open(self, labels: LabelSet) -> ChainMember:
        """Its networks. Raises CheckpointError, also where this machine's registry has other weights of that name."""
        registry = Registry.default()
        reference = registry.load(self.reference, kind="reference", challenge=self.challenge)
        propagation = registry.load(self.propagation, kind="propagation", challenge=self.challenge)
        require_weights(self.reference, reference.card.weights_sha256, self.entry.weights_sha256)
        require_weights(self.propagation, propagation.card.weights_sha256, self.entry.propagation_sha256)
        module = ReferenceModule(reference, device=self.device, backend=self.backend)
        return ChainMember(module=module, propagation=propagation)


@dataclass(frozen=True, kw_only=True)
class ChainMember:
    """`flarekit segment` as a voter: its mask votes as a finished label map does, with full certainty.

    What the propagation knows of a slice is one confidence an organ, not probabilities of every voxel that could be
    summed with those of another member.
    """

    module: ReferenceModule
    propagation: Loaded

    def votes(self, volume: Volume, case: str, scratch: Path) -> Iterator[Vote]:
        """The segmented case, with `segment`'s own settings."""
        planes = iter(segment(volume, self.module, self.propagation, SegmentConfig()).classes)
        yield from (Vote(classes=classes) for classes in replayed(planes, scratch, volume.array.shape[1:]))
