"""Weights of other projects into the registry, and a checkpoint's networks back into their files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flarekit import files
from flarekit.checkpoints.card import Card, Provenance
from flarekit.checkpoints.foreign.formats import FORMATS, WRITERS, Format, ReadOptions
from flarekit.checkpoints.registry import Registry, check_name
from flarekit.checkpoints.resume import save_state
from flarekit.config.preprocessing import WINDOWS, PreprocessingConfig
from flarekit.errors import CheckpointError, UsageError
from flarekit.labels import LabelSet
from flarekit.models import Network

MAX_NAME = 64  # characters of a checkpoint's name
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user knows of weights and their file does not say."""

    labels: LabelSet  # what the classes mean
    name: str | None = None  # of the checkpoint; the file's without it, "-" for what a name cannot have
    windows: str = PreprocessingConfig.windows.name  # preset of the channels the network was trained on
    normalisation: str | None = None  # of the channels; as the published network had it without
    spacing_mm: float | None = None  # in-plane spacing it was trained on; None takes slices as they are
    canvas: int | None = None  # side of its slices, px; the published network's without it


def import_weights(registry: Registry, source: Path, format: str, options: ImportOptions) -> Card:
    """Publish another project's weights; the card comes back.

    Its provenance says that they are pretrained. Raises UsageError on an unknown format or name, InputError when
    the file cannot be read, CheckpointError when it holds something else or other classes, OutputError.
    """
    form: Format = _known(FORMATS, "--as", format)
    name = options.name or _NOT_IN_NAMES.sub("-", source.stem)[:MAX_NAME]
    check_name(name)
    read_options = ReadOptions(canvas=_multiple_of_32(options.canvas or 512), classes=options.labels.classes)
    network = form.read(source, read_options)
    if form.kind == "reference":
        _check_classes(network, options.labels, source)
    card = Card(
        kind=form.kind,
        name=name,
        networks={form.network: network.config},
        preprocessing=_preprocessing(form, network, options),
        labels=options.labels,
        provenance=_provenance(form, format, source),
    )
    return registry.publish(card, {form.network: network})


def export_weights(
    registry: Registry, reference: str, format: str, target: Path, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write a checkpoint's network as the other project saves it; what was done comes back.

    Raises UsageError on an unknown format, CheckpointError where the checkpoint has no such network or the
    published one could not compute the same, OutputError.
    """
    write, network_name = _known(WRITERS, "--as", format), FORMATS[format].network
    files.refuse_existing(target, overwrite=overwrite)
    loaded = registry.load(reference)
    network = loaded.networks.get(network_name)
    if network is None:
        raise CheckpointError(
            f"{loaded.card.reference} holds {', '.join(loaded.networks)}, no {network_name}",
            remedy="Use --as for a network that it holds.",
        )
    try:
        written = write(network)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot be written as {format}: {error.what}", where=loaded.card.reference, remedy=error.remedy
        ) from error
    save_state(target, dict(written.state), overwrite=overwrite)
    return {"exported": loaded.card.reference, "file": str(target), "loads_into": written.loads_into}


def _known(table: dict[str, Any], option: str, name: str) -> Any:
    if name not in table:
        raise UsageError(f"{option} does not know {name!r}", remedy=f"Use one of {', '.join(table)}.")
    return table[name]


def _multiple_of_32(canvas: int) -> int:
    if canvas < 32 or canvas % 32:
        raise UsageError(f"--canvas is a multiple of 32, got {canvas}")
    return canvas


def _check_classes(network: Network, labels: LabelSet, source: Path) -> None:
    classes = network.config.classes  # type: ignore[union-attr]
    if classes != labels.classes:
        raise CheckpointError(
            f"tells {classes} classes apart (background included), the label set {labels.name!r} has {labels.classes}",
            where=source,
            remedy="Name its organs in the order of its classes with --dataset dataset.json.",
        )


def _preprocessing(form: Format, network: Network, options: ImportOptions) -> PreprocessingConfig:
    try:
        return PreprocessingConfig(
            windows=_known(WINDOWS, "--windows", options.windows),
            spacing_mm=options.spacing_mm,
            canvas=options.canvas or form.canvas(network),
            normalisation=options.normalisation or form.normalisation,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _provenance(form: Format, format: str, source: Path) -> Provenance:
    return Provenance(
        initialisation=f"weights of another project: {form.source}",
        pretrained_or_extra_data=True,
        licence="as published by their authors; not known here",
        notes=f"Imported from {source.name} (SHA-256 {files.sha256(source)}) as {format}.",
    )
