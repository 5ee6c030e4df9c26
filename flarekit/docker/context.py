"""A build context that follows FLARE's contract: `sh predict.sh` reads /workspace/inputs, writes /workspace/outputs."""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flarekit import __version__, files
from flarekit.checkpoints import Card, Registry
from flarekit.checkpoints.registry import CARD, WEIGHTS, verify
from flarekit.docker.pins import requirements
from flarekit.docker.wheel import write_wheel
from flarekit.errors import CheckpointError, OutputError
from flarekit.renumbering import WrittenLabels

ASSETS = Path(__file__).parent / "assets"
NUMBERING = "flare22"  # the ids that the challenge's masks hold


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a container segments with."""

    reference: Card
    propagation: Card | None  # None: the reference module on every slice
    challenge: bool  # refuse weights against the rules, and write the challenge's ids

    @classmethod
    def of(cls, registry: Registry, reference: str, propagation: str | None, *, challenge: bool = False) -> Image:
        """The checkpoints NAME or NAME@VERSION.

        Raises CheckpointError, also for what `challenge` refuses; UsageError where an organ has no id in the challenge.
        """
        card = registry.card(reference, kind="reference", challenge=challenge)
        if challenge:
            WrittenLabels.of(card.labels, label_map=NUMBERING)
        carries = registry.card(propagation, kind="propagation", challenge=challenge) if propagation else None
        return cls(reference=card, propagation=carries, challenge=challenge)

    @property
    def cards(self) -> tuple[Card, ...]:
        """All checkpoints."""
        return (self.reference,) if self.propagation is None else (self.reference, self.propagation)

    @property
    def options(self) -> list[str]:
        """Of `flarekit segment`; the versions are named, so that no other one is ever taken."""
        options = ["--model", self.reference.reference]
        options += ["--propagation-model", self.propagation.reference] if self.propagation else ["--no-propagation"]
        return options + (["--challenge", "--label-map", NUMBERING] if self.challenge else [])


def write_context(folder: Path, image: Image, registry: Registry) -> list[str]:
    """Write the build context to a new folder, whole or not at all; the files' names come back.

    Raises OutputError where the folder exists or cannot be written, CheckpointError where weights are damaged,
    MissingDependency where flarekit or a package it needs is not installed.
    """
    if folder.exists() or folder.is_symlink():
        raise OutputError("exists already", where=folder, remedy="Name a new folder, or remove this one.")
    pins = requirements("flarekit")
    with files.atomic_folder(folder) as temporary:
        words = {
            "VERSION": __version__,
            "PYTHON": platform.python_version(),
            "WHEEL": write_wheel(temporary),
            "OPTIONS": shlex.join(image.options),
            "MODELS": _said_of(image),
        }
        for asset in sorted(ASSETS.iterdir()):
            name = ".dockerignore" if asset.name == "dockerignore" else asset.name
            (temporary / name).write_text(_filled(asset.read_text(encoding="utf-8"), words), encoding="utf-8")
        (temporary / "requirements.txt").write_text(pins, encoding="utf-8")
        for card in image.cards:
            _copy_checkpoint(card, registry, temporary / "flarekit-home" / "checkpoints")
        return sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _copy_checkpoint(card: Card, registry: Registry, root: Path) -> None:
    source, target = registry.folder(card.reference), root / card.name / str(card.version)
    verify(source, card)
    target.mkdir(parents=True)
    for name in (CARD, WEIGHTS):
        shutil.copyfile(source / name, target / name)


def _said_of(image: Image) -> str:
    """A line of Markdown for each checkpoint: its terms, what it saw, and whether a challenge's rules allow it."""
    lines = []
    for card in image.cards:
        try:
            card.require_allowed_in_challenge()
            seen = ", ".join(card.provenance.data) or "nothing"
            rules = f"trained from random weights on: {seen}. Whether that is the challenge's own data is yours to know"
        except CheckpointError as error:
            rules = f"**not for a challenge**: {error.what}"
        lines.append(f"- `{card.reference}` ({card.kind}; {card.provenance.licence}): {rules}.")
    return "\n".join(["Checkpoints:", "", *lines])
