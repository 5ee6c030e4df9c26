"""Checkpoints as one zip file, to carry from one registry to another."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from pathlib import Path

from flarekit import files
from flarekit.checkpoints.card import Card, read_card
from flarekit.checkpoints.registry import CARD, WEIGHTS, Registry, card_of, check_name, verify
from flarekit.errors import CheckpointError, InputError, OutputError, UsageError

# what zipfile raises for other files, and for zips that are encrypted, damaged or packed in another way
_REFUSALS = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError)


def export_checkpoint(registry: Registry, reference: str, target: Path, *, overwrite: bool = False) -> Card:
    """Write NAME[@VERSION] to a zip; its card comes back. Raises CheckpointError or OutputError."""
    folder = registry.folder(reference)
    card = card_of(folder)
    verify(folder, card)
    with (
        files.atomic_path(target, overwrite=overwrite) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name in (CARD, WEIGHTS):
            archive.write(folder / name, name)
    return card


def import_checkpoint(registry: Registry, source: Path) -> Card:
    """Bring a zip's checkpoint in under its own name and version; its card comes back.

    Raises InputError when the file is no such zip, CheckpointError when the checkpoint in it is damaged,
    OutputError when the version is here already or cannot be written.
    """
    try:
        with files.input_errors(source), zipfile.ZipFile(source) as archive:
            return _unpack(registry, archive)
    except (CheckpointError, UsageError) as error:
        raise CheckpointError(
            f"holds a damaged checkpoint ({error.what})", where=source, remedy="Export it again."
        ) from error
    except _REFUSALS as error:
        raise InputError(
            f"is not a checkpoint that `flarekit models export` wrote ({error})",
            where=source,
            remedy="Export or copy it again; weights of another project need --as.",
        ) from error


def _unpack(registry: Registry, archive: zipfile.ZipFile) -> Card:
    with files.output_errors(registry.root):
        registry.root.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(prefix=".tmp-", dir=registry.root)
    with staging as name, files.output_errors(registry.root):
        folder = Path(name) / "checkpoint"
        for member in (CARD, WEIGHTS):
            archive.extract(member, folder)
        card = read_card(folder / CARD)
        verify(folder, card)
        check_name(card.name)
        target = registry.root / card.name / str(card.version)
        if target.exists() or (registry.packaged / card.name / str(card.version)).exists():
            raise OutputError(
                f"{card.reference} is in the registry already",
                where=target,
                remedy="To replace it, remove it first with `flarekit models rm`.",
            )
        target.parent.mkdir(exist_ok=True)
        os.replace(folder, target)
    return card
