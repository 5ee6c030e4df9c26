"""Who votes: checkpoints, which label a case, and folders of label maps that are finished.

A `MemberSource` says who it is without loading anything, and can be sent to another process; what it opens there
votes on one case after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from flarekit.checkpoints import Registry
from flarekit.consensus.ledger import MemberEntry
from flarekit.consensus.outputs import PLAIN_MASKS, REJECTED_MASKS
from flarekit.consensus.spool import replayed
from flarekit.consensus.vote import Vote
from flarekit.data import nnunet
from flarekit.data.layouts import DESCRIPTION, label_maps
from flarekit.data.slices import VolumeSlices
from flarekit.errors import CheckpointError, InputError, UsageError
from flarekit.labels import IGNORE, LabelSet, read_dataset_json
from flarekit.reference import ReferenceModule
from flarekit.volumes import Volume, read_labels, require_same_grid

logger = logging.getLogger(__name__)


class Member(Protocol):
    """A voter, ready to vote."""

    def votes(self, volume: Volume, case: str, scratch: Path) -> Iterator[Vote]:
        """Its vote on every slice of the CT, from the lowest; only a few slices are held at a time.

        `scratch` is a folder for files without a name. Raises FlarekitError where it cannot label this case.
        """
        ...


class MemberSource(Protocol):
    """A voter's description, small, hashable, and good in any process."""

    @property
    def entry(self) -> MemberEntry:
        """What the ledger says of it."""
        ...

    @property
    def labels(self) -> LabelSet | None:
        """The organs it knows; None for label maps whose ids nobody names."""
        ...

    def file_of(self, case: str) -> Path | None:
        """The case's label map, where its votes are read from one."""
        ...

    def open(self, labels: LabelSet) -> Member:
        """The voter for a round with these organs. Raises FlarekitError."""
        ...


@dataclass(frozen=True, kw_only=True)
class CheckpointSource:
    """A reference checkpoint, which looks at every slice."""

    entry: MemberEntry
    labels: LabelSet
    device: str = "cpu"
    backend: str = "torch"
    challenge: bool = False  # refuse weights that a challenge's rules do not allow

    @classmethod
    def of(
        cls, reference: str, *, device: str = "cpu", backend: str = "torch", challenge: bool = False
    ) -> CheckpointSource:
        """The checkpoint NAME or NAME@VERSION of the default registry. Raises CheckpointError."""
        card = Registry.default().card(reference)
        entry = MemberEntry(name=card.reference, kind="checkpoint", weights_sha256=card.weights_sha256)
        return cls(entry=entry, labels=card.labels, device=device, backend=backend, challenge=challenge)

    def file_of(self, case: str) -> Path | None:
        """None: it looks at the CT."""
        return None

    def open(self, labels: LabelSet) -> ReferenceMember:
        """Its networks. Raises CheckpointError, also where this machine's registry has other weights of that name."""
        loaded = Registry.default().load(self.entry.name, kind="reference", challenge=self.challenge)
        require_weights(self.entry.name, loaded.card.weights_sha256, self.entry.weights_sha256)
        return ReferenceMember(ReferenceModule(loaded, device=self.device, backend=self.backend))


@dataclass(frozen=True)
class ReferenceMember:
    """A reference module on every slice; its preprocessing is its own, the votes lie on the CT's own pixels."""

    module: ReferenceModule

    def votes(self, volume: Volume, case: str, scratch: Path) -> Iterator[Vote]:
        """Its classes and their probabilities."""
        slices = VolumeSlices(volume, self.module.preprocessing)
        for _, planes in self.module.probabilities(slices, range(len(slices))):
            probabilities = slices.grid.from_network(planes[None])[0].cpu()
            classes = probabilities.max(dim=0).indices  # much faster than argmax, and the first of equals as well
            yield Vote(classes=classes.to(torch.uint8).numpy(), probabilities=probabilities)


@dataclass(frozen=True, kw_only=True)
class MaskSource:
    """A folder of finished label maps, NAME.nii.gz for the case NAME.

    A dataset.json in it, or beside a folder called labels or labelsTr, says which ids they hold; organs are matched by
    their names, and those that the round does not know are background. Without one, ids are the round's own.
    """

    name: str
    folders: tuple[Path, ...]  # a case's label map is looked for in one after the other
    labels: LabelSet | None = None

    @classmethod
    def of(cls, text: str) -> MaskSource:
        """From FOLDER, which is then called by its own name, or NAME=FOLDER. Raises InputError or UsageError."""
        name, equals, folder = text.partition("=")
        path = Path(folder) if equals and not Path(text).exists() else Path(text)
        name = name if path == Path(folder) and equals else path.resolve().name
        if not path.is_dir():
            raise InputError(
                "is no folder of label maps", where=path, remedy="Give a folder with NAME.nii.gz for the case NAME."
            )
        if not name:
            raise UsageError(f"{text!r} leaves the label maps no name", remedy="Write NAME=FOLDER.")
        return cls(name=name, folders=(path.absolute(),), labels=_described(path))

    @classmethod
    def of_round(cls, folder: Path) -> MaskSource:
        """The masks of a round of `pseudolabel`, rejected ones too where they were written. Raises InputError."""
        found = [folder / name for name in (PLAIN_MASKS, nnunet.LABELS, REJECTED_MASKS) if (folder / name).is_dir()]
        if not found:
            return cls.of(str(folder))
        name, labels = folder.resolve().name, _described(found[0])
        return cls(name=name, folders=tuple(path.absolute() for path in found), labels=labels)

    @property
    def entry(self) -> MemberEntry:
        """Its name; the files' hashes are in each case's record."""
        return MemberEntry(name=self.name, kind="masks")

    def file_of(self, case: str) -> Path | None:
        """The case's label map; None where there is none. Raises InputError where there are two."""
        found = (label_maps(folder).get(case) for folder in self.folders)
        return next((path for path in found if path is not None), None)

    def open(self, labels: LabelSet) -> MaskMember:
        """Nothing is read before a case is. Raises UsageError where the masks do not name every organ."""
        return MaskMember(source=self, labels=labels, class_of=_translation(self, labels))


@dataclass(frozen=True, kw_only=True)
class MaskMember:
    """Finished label maps as votes of full certainty; voxels that a map ignores are abstentions."""

    source: MaskSource
    labels: LabelSet  # of the round
    class_of: np.ndarray  # uint8 (256,): the round's class for each of the maps' own

    def votes(self, volume: Volume, case: str, scratch: Path) -> Iterator[Vote]:
        """The case's label map. Raises InputError: missing, damaged, on another grid, or with unknown ids."""
        path = self.source.file_of(case)
        if path is None:
            raise InputError(
                f"no label map for the case {case!r}",
                where=self.source.folders[0],
                remedy=f"It is called {case}.nii.gz.",
            )
        for classes in replayed(self._classes(path, volume), scratch, volume.array.shape[1:]):
            yield Vote(classes=classes)

    def _classes(self, path: Path, volume: Volume) -> Iterator[np.ndarray]:
        """uint8 (H, W) of every slice. Raises InputError."""
        masks = read_labels(path, like=volume)
        require_same_grid(volume, masks)
        own = self.source.labels or self.labels
        for ids in masks.array:
            yield self.class_of[own.to_classes(ids, where=path)]


def order(sources: Sequence[MemberSource]) -> tuple[MemberSource, ...]:
    """The sources by name, so that a round's result does not depend on how they were listed.

    Raises UsageError: fewer than two, or two of one name.
    """
    ordered = tuple(sorted(sources, key=lambda source: source.entry.name))
    names = [source.entry.name for source in ordered]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            f"a consensus needs two different members at least, got {', '.join(names) or 'none'}",
            remedy="Name checkpoints as --models first,second, and folders of label maps as --predictions NAME=FOLDER.",
        )
    return ordered


def common_labels(sources: Sequence[MemberSource], stated: LabelSet | None, otherwise: LabelSet) -> LabelSet:
    """The organs of a round: those of its checkpoints, else the `stated`, else the first folder's, else `otherwise`.

    Raises UsageError when checkpoints segment other organs than another, or than `stated` says.
    """
    known = [(source.entry.name, source.labels) for source in sources if source.entry.kind != "masks"]
    if stated is not None:
        known.insert(0, ("--dataset", stated))
    for name, labels in known[1:]:
        first_name, first = known[0]
        assert labels is not None and first is not None
        if (labels.names, labels.ids) != (first.names, first.ids):
            raise UsageError(
                f"{name} segments other organs than {first_name}", remedy="Take models trained on one label set."
            )
    named = [labels for _, labels in known] + [source.labels for source in sources]
    return replace(next((labels for labels in named if labels is not None), otherwise), ignore_id=None)


@runtime_checkable
class Looking(Protocol):
    """A voter that looks at the CT, with the propagation behind it or without."""

    @property
    def module(self) -> ReferenceModule:
        """What it looks through."""
        ...


def say_where_preprocessing_differs(members: Iterable[Member]) -> None:
    """Warns where checkpoints see a CT differently, which is no reason to refuse: votes meet on the CT's own pixels."""
    modules = [member.module for member in members if isinstance(member, Looking)]
    for module in modules[1:]:
        first, other = modules[0].preprocessing, module.preprocessing
        differ = [f.name for f in fields(first) if getattr(first, f.name) != getattr(other, f.name)]
        if differ:
            logger.warning(
                "%s was trained with another %s than %s: each sees the CT its own way and votes on its pixels.",
                module.card.reference,
                ", ".join(differ),
                modules[0].card.reference,
            )


def require_weights(reference: str, found: str, wanted: str | None) -> None:
    """Raises CheckpointError where a checkpoint's weights are not those the round was planned with."""
    if found != wanted:
        raise CheckpointError(
            f"{reference} has other weights here than where the round was started",
            remedy="Give all workers the same registry ($FLAREKIT_HOME).",
        )


def _described(folder: Path) -> LabelSet | None:
    beside = [folder.parent] if folder.name in (PLAIN_MASKS, nnunet.LABELS, REJECTED_MASKS) else []
    found = [place / DESCRIPTION for place in (folder, *beside) if (place / DESCRIPTION).is_file()]
    return read_dataset_json(found[0]) if found else None


def _translation(source: MaskSource, labels: LabelSet) -> np.ndarray:
    table = np.zeros(256, dtype=np.uint8)
    table[IGNORE] = IGNORE
    own = source.labels or labels
    for organ, name in enumerate(labels.names, start=1):
        try:
            table[own.class_of(name)] = organ
        except UsageError as error:
            raise UsageError(
                f"the label maps {source.name!r} have no organ {name!r}",
                remedy=f"Name it in their dataset.json, which has {', '.join(own.names)}.",
            ) from error
    return table
