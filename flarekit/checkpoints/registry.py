"""Checkpoints by name and version, in the user's data folder and in the package itself.

A checkpoint is a folder ROOT/NAME/VERSION with `weights.safetensors` and `card.json`. Versions are
immutable; a name without a version means the highest one. An empty file ROOT/NAME/VERSION.removed stays
behind a removed one, so that publishing never gives its number to other weights. Packaged checkpoints (the
starter weights) are read in place.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from flarekit import __version__, files
from flarekit.checkpoints.card import Card, read_card
from flarekit.checkpoints.weights import read_weights, write_weights
from flarekit.errors import CheckpointError, OutputError, UsageError
from flarekit.models import build

WEIGHTS, CARD = "weights.safetensors", "card.json"
PACKAGED = Path(__file__).parent.parent / "starter"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REMOVED = ".removed"
_VERSION = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: its card, and its networks in evaluation mode on the CPU, float32."""

    card: Card
    networks: dict[str, nn.Module]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a registry holds."""

    cards: tuple[Card, ...] = ()  # by name and version
    damaged: Mapping[str, CheckpointError] = field(default_factory=dict)  # NAME@VERSION, and why it has no card


def home() -> Path:
    """`$FLAREKIT_HOME`, else flarekit's folder among the user's data."""
    if folder := os.environ.get("FLAREKIT_HOME"):
        return Path(folder)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "flarekit"


@dataclass(frozen=True)
class Registry:
    """Checkpoints under one folder that is written to, and one that is only read."""

    root: Path
    packaged: Path = PACKAGED

    @classmethod
    def default(cls) -> Registry:
        """The user's registry and the packaged starter weights."""
        return cls(home() / "checkpoints")

    def listing(self) -> Listing:
        """Every checkpoint's card, and the checkpoints whose cards are damaged."""
        folders = {_identity(f): f for root in (self.packaged, self.root) for f in _versions(root, "*")}
        cards, damaged = [], {}
        for _, folder in sorted(folders.items()):
            try:
                cards.append(card_of(folder))
            except CheckpointError as error:
                damaged[_reference(folder)] = error
        return Listing(cards=tuple(cards), damaged=damaged)

    def folder(self, reference: str) -> Path:
        """The folder of NAME or NAME@VERSION. Raises CheckpointError when there is none."""
        name, version = _split(reference)
        found = [*_versions(self.root, name), *_versions(self.packaged, name)]
        found = [folder for folder in found if version in (None, int(folder.name))]
        if not found:
            known = sorted({folder.parent.name for r in (self.root, self.packaged) for folder in _versions(r, "*")})
            raise CheckpointError(f"unknown checkpoint {reference!r}", remedy=f"Known: {', '.join(known) or 'none'}.")
        return max(found, key=lambda folder: int(folder.name))

    def card(self, reference: str, *, kind: str | None = None, challenge: bool = False) -> Card:
        """The card of NAME or NAME@VERSION. Raises CheckpointError: unknown, of another kind, or damaged.

        `challenge` also refuses one that saw what a challenge's rules do not allow.
        """
        card = card_of(self.folder(reference))
        if challenge:
            card.require_allowed_in_challenge()
        if kind not in (None, card.kind):
            remedy = "`flarekit models list` shows the kinds."
            if card.kind == "initialisation":
                remedy = f"Parts of it are random: train from it, --init {card.reference}."
            article = "an" if card.kind[0] in "aeiou" else "a"
            raise CheckpointError(
                f"{card.reference} is {article} {card.kind} checkpoint, a {kind} one is needed", remedy=remedy
            )
        return card

    def load(self, reference: str, *, kind: str | None = None, challenge: bool = False) -> Loaded:
        """A checkpoint with its networks. Raises CheckpointError as `card` does, or where weights are damaged."""
        card = self.card(reference, kind=kind, challenge=challenge)
        folder = self.folder(card.reference)
        verify(folder, card)
        networks = {name: build(config) for name, config in card.networks.items()}
        read_weights(folder / WEIGHTS, networks)
        return Loaded(card, {name: network.eval() for name, network in networks.items()})

    def publish(self, card: Card, networks: Mapping[str, nn.Module], *, half: bool = False) -> Card:
        """Store networks under the card's name as its next version; the finished card comes back.

        `half` stores float16. Raises OutputError when the registry cannot be written to.
        """
        check_name(card.name)
        while True:
            version = 1 + max(self._given_out(card.name), default=0)
            folder = self.root / card.name / str(version)
            try:
                return _write(folder, replace(card, version=version), networks, half)
            except OutputError:
                if not folder.is_dir():
                    raise
                # another process took that version meanwhile: take the next

    def remove(self, reference: str) -> str:
        """Delete one version, named in full, damaged or not; NAME@VERSION comes back. Its number stays taken.

        Raises UsageError, CheckpointError when there is none, or OutputError.
        """
        name, version = _split(reference)
        if version is None:
            raise UsageError(f"{reference!r} names no version", remedy="Say which, as in NAME@1.")
        folder = self.folder(reference)
        if folder.is_relative_to(self.packaged):
            raise UsageError(
                f"{reference} comes with flarekit and cannot be removed", remedy="Remove others, as in NAME@1."
            )
        with files.output_errors(folder):
            folder.with_name(folder.name + _REMOVED).touch()
            grave = Path(tempfile.mkdtemp(prefix=".tmp-removed-", dir=folder.parent))
            os.replace(folder, grave)
            shutil.rmtree(grave)
        return f"{name}@{version}"

    def _given_out(self, name: str) -> set[int]:
        there = {int(f.name) for root in (self.root, self.packaged) for f in _versions(root, name)}
        removed = (file.stem for file in self.root.glob(f"{name}/*{_REMOVED}"))
        return there | {int(version) for version in removed if _VERSION.fullmatch(version)}


def _write(folder: Path, card: Card, networks: Mapping[str, nn.Module], half: bool) -> Card:
    with files.atomic_folder(folder) as temporary:
        write_weights(temporary / WEIGHTS, networks, half=half)
        card = replace(
            card,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            flarekit_version=__version__,
            weights_sha256=files.sha256(temporary / WEIGHTS),
        )
        files.write_json(temporary / CARD, card.to_json())
    return card


def card_of(folder: Path) -> Card:
    """The card of a registry's folder NAME/VERSION. Raises CheckpointError when it is damaged, or of another."""
    card = read_card(folder / CARD)
    if card.reference != _reference(folder):
        raise CheckpointError(
            f"is the card of {card.reference}",
            where=folder / CARD,
            remedy="Give the folder that name, or copy with `flarekit models export` and `import`.",
        )
    return card


def verify(folder: Path, card: Card) -> None:
    """Raises CheckpointError when the weights are not the bytes the card was written for."""
    weights = folder / WEIGHTS
    if not weights.is_file() or files.sha256(weights) != card.weights_sha256:
        raise CheckpointError(
            "missing or changed since it was published (SHA-256 differs)",
            where=weights,
            remedy="Import the checkpoint again, or remove it with `flarekit models rm`.",
        )


def check_name(name: str) -> None:
    """Raises UsageError on a name that cannot be a folder or be told from NAME@VERSION."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a checkpoint", remedy="Use letters, digits, '.', '_' and '-', at most 64."
        )


def _versions(root: Path, name: str) -> list[Path]:
    folders = root.glob(f"{name}/*")
    return [f for f in folders if _VERSION.fullmatch(f.name) and f.is_dir() and not f.parent.name.startswith(".")]


def _identity(folder: Path) -> tuple[str, int]:
    return folder.parent.name, int(folder.name)


def _reference(folder: Path) -> str:
    return f"{folder.parent.name}@{int(folder.name)}"


def _split(reference: str) -> tuple[str, int | None]:
    name, at, version = reference.partition("@")
    check_name(name)
    if at and not _VERSION.fullmatch(version):
        raise UsageError(f"{reference!r} has no numeric version", remedy="Write NAME or NAME@1.")
    return name, int(version) if version else None
