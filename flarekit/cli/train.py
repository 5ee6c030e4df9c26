"""`flarekit train`: the reference pair and the propagation network."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Device, Json, Seed, Workers, resolve_device
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import WINDOWS
from flarekit.config.training import (
    AUGMENTATIONS,
    PRECISIONS,
    SCHEDULES,
    AugmentationConfig,
    CPSConfig,
    LoopConfig,
    OptimiserConfig,
    STCNTrainingConfig,
)
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from flarekit.checkpoints import Card

RUNS = Path("runs")

app = typer.Typer(no_args_is_help=True, help="Train the reference pair (cps) and the propagation network (stcn).")

Labelled = Annotated[
    list[Path], typer.Option("--labelled", help="Slice store with labels; may be given several times.")
]
Unlabelled = Annotated[
    list[Path] | None, typer.Option("--unlabelled", help="Slice store without labels; may be given several times.")
]
Validation = Annotated[
    Path | None,
    typer.Option("--validation", help="Slice store to validate on; a tenth of the labelled cases without it."),
]
Name = Annotated[str, typer.Option("--name", help="Name of the run's folder and of the checkpoint.")]
Arch = Annotated[str, typer.Option("--arch", help="Network sizes: paper, lite.")]
Windows = Annotated[
    str | None,
    typer.Option("--windows", help=f"Window preset: {', '.join(WINDOWS)}; as --arch or --init says without it."),
]
Init = Annotated[
    str | None, typer.Option("--init", help="Fine-tune this checkpoint; its sizes and preprocessing are kept.")
]
Iterations = Annotated[int, typer.Option("--iterations", min=1, help="Optimiser steps.")]
Lr = Annotated[float, typer.Option("--lr", help="Highest learning rate.")]
Schedule = Annotated[str, typer.Option("--schedule", help=f"Learning rate over time: {', '.join(SCHEDULES)}.")]
Warmup = Annotated[int, typer.Option("--warmup", min=0, help="Iterations over which the learning rate grows.")]
ClipNorm = Annotated[float | None, typer.Option("--clip-norm", help="Scale gradients down to this norm.")]
Augmentation = Annotated[
    str, typer.Option("--augmentation", help=f"Random changes of slices: {', '.join(AUGMENTATIONS)}.")
]
Crop = Annotated[
    int | None, typer.Option("--crop", help="Side of a random crop in pixels; the whole canvas without it.")
]
ValidateEvery = Annotated[int, typer.Option("--validate-every", min=1, help="Iterations between validations.")]
SaveEvery = Annotated[int, typer.Option("--save-every", min=1, help="Iterations between states to resume from.")]
Precision = Annotated[str, typer.Option("--precision", help=f"Arithmetic on a GPU: {', '.join(PRECISIONS)}.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")]


@app.command(epilog="Example: `flarekit train cps --labelled stores/lab --unlabelled stores/more --name mine`")
def cps(
    labelled: Labelled,
    name: Name,
    unlabelled: Unlabelled = None,
    validation: Validation = None,
    arch: Arch = "paper",
    windows: Windows = None,
    init: Init = None,
    iterations: Iterations = LoopConfig.iterations,
    labelled_batch: Annotated[
        int, typer.Option("--labelled-batch", min=1, help="Labelled slices an iteration.")
    ] = CPSConfig.labelled_batch,
    unlabelled_batch: Annotated[
        int, typer.Option("--unlabelled-batch", min=0, help="Unlabelled slices an iteration; 0 uses labels alone.")
    ] = CPSConfig.unlabelled_batch,
    consistency_weight: Annotated[
        float, typer.Option("--consistency-weight", min=0, help="Weight of the unsupervised loss in the end.")
    ] = CPSConfig.consistency_weight,
    lr: Lr = OptimiserConfig.lr,
    schedule: Schedule = OptimiserConfig.schedule,
    warmup: Warmup = OptimiserConfig.warmup,
    clip_norm: ClipNorm = OptimiserConfig.clip_norm,
    augmentation: Augmentation = "paper",
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Reflections: swap paired organs, or off; as the augmentation says without it."),
    ] = None,
    crop: Crop = CPSConfig.crop,
    validate_every: ValidateEvery = LoopConfig.validate_every,
    validation_stride: Annotated[
        int, typer.Option("--validation-stride", min=1, help="Validate on every n-th slice.")
    ] = LoopConfig.validation_stride,
    save_every: SaveEvery = LoopConfig.save_every,
    precision: Precision = LoopConfig.precision,
    seed: Seed = LoopConfig.seed,
    workers: Workers = LoopConfig.workers,
    device: Device = "auto",
    runs: Runs = RUNS,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train TransUNet and DeepLabV3+ by cross pseudo supervision and publish the best pair as a checkpoint.

    Both learn from labelled slices, and from each other's masks on unlabelled ones. Defaults are the paper's.
    """
    from flarekit.checkpoints import Registry
    from flarekit.training.data import Stores
    from flarekit.training.runs import RunSettings, train_cps

    with _usage_errors():
        config = CPSConfig(
            loop=LoopConfig(
                iterations=iterations,
                seed=seed,
                precision=precision,
                validate_every=validate_every,
                validation_stride=validation_stride,
                save_every=save_every,
                workers=workers,
            ),
            optimiser=OptimiserConfig(lr=lr, schedule=schedule, warmup=warmup, clip_norm=clip_norm),
            augmentation=_augmentation(augmentation, mirror),
            labelled_batch=labelled_batch,
            unlabelled_batch=unlabelled_batch,
            consistency_weight=consistency_weight,
            crop=crop,
        )
    settings = RunSettings(
        name=name,
        stores=Stores(labelled=tuple(labelled), unlabelled=tuple(unlabelled or ()), validation=validation),
        arch=_known("--arch", arch, ARCHITECTURES),
        windows=None if windows is None else _known("--windows", windows, WINDOWS),
        init=init,
        runs=runs,
        device=resolve_device(device),
        resume=resume,
    )
    _report(train_cps(settings, config, Registry.default()), as_json=json)


@app.command(epilog="Example: `flarekit train stcn --labelled stores/lab --name mine --arch lite`")
def stcn(
    labelled: Labelled,
    name: Name,
    validation: Validation = None,
    arch: Arch = "paper",
    windows: Windows = None,
    init: Init = None,
    iterations: Iterations = LoopConfig.iterations,
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="Clips of three slices an iteration.")
    ] = STCNTrainingConfig.clips,
    objects_per_clip: Annotated[
        int, typer.Option("--objects-per-clip", min=1, max=2, help="Organs followed in a clip.")
    ] = STCNTrainingConfig.objects_per_clip,
    last_gap_mm: Annotated[
        float, typer.Option("--last-gap-mm", help="Longest way between the slices of a clip, in the end.")
    ] = STCNTrainingConfig.last_gap_mm,
    between_share: Annotated[
        float, typer.Option("--between-share", help="Share of clips that end between the two slices in memory.")
    ] = STCNTrainingConfig.between_share,
    lr: Lr = OptimiserConfig.lr,
    schedule: Schedule = OptimiserConfig.schedule,
    warmup: Warmup = OptimiserConfig.warmup,
    clip_norm: ClipNorm = OptimiserConfig.clip_norm,
    augmentation: Augmentation = "paper",
    crop: Crop = STCNTrainingConfig.crop,
    validate_every: ValidateEvery = LoopConfig.validate_every,
    save_every: SaveEvery = LoopConfig.save_every,
    precision: Precision = LoopConfig.precision,
    seed: Seed = LoopConfig.seed,
    workers: Workers = LoopConfig.workers,
    device: Device = "auto",
    runs: Runs = RUNS,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train STCN to carry an organ's mask from slice to slice and publish the best network as a checkpoint.

    It learns organ by organ, whichever they are, from clips of three slices. Defaults are the paper's.
    """
    from flarekit.checkpoints import Registry
    from flarekit.training.data import Stores
    from flarekit.training.runs import RunSettings, train_stcn

    with _usage_errors():
        config = STCNTrainingConfig(
            loop=LoopConfig(
                iterations=iterations,
                seed=seed,
                precision=precision,
                validate_every=validate_every,
                save_every=save_every,
                workers=workers,
            ),
            optimiser=OptimiserConfig(lr=lr, schedule=schedule, warmup=warmup, clip_norm=clip_norm),
            augmentation=_augmentation(augmentation, None),
            clips=clips,
            objects_per_clip=objects_per_clip,
            first_gap_mm=min(STCNTrainingConfig.first_gap_mm, last_gap_mm),
            last_gap_mm=last_gap_mm,
            between_share=between_share,
            crop=crop,
        )
    settings = RunSettings(
        name=name,
        stores=Stores(labelled=tuple(labelled), validation=validation),
        arch=_known("--arch", arch, ARCHITECTURES),
        windows=None if windows is None else _known("--windows", windows, WINDOWS),
        init=init,
        runs=runs,
        device=resolve_device(device),
        resume=resume,
    )
    _report(train_stcn(settings, config, Registry.default()), as_json=json)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turns what a configuration says of a bad value into UsageError."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def _augmentation(name: str, mirror: str | None) -> AugmentationConfig:
    preset = AUGMENTATIONS[_known("--augmentation", name, AUGMENTATIONS)]
    return preset if mirror is None else replace(preset, mirror=mirror)


def _known(option: str, name: str, choices: Collection[str]) -> str:
    if name not in choices:
        raise UsageError(f"{option} does not know {name!r}", remedy=f"Use one of {', '.join(choices)}.")
    return name


def _report(card: Card, *, as_json: bool) -> None:
    organs = card.metrics.get("organs", {})
    rows = [*organs.items(), ("mean", card.metrics.get("dice"))]
    table = console.table(f"Validation Dice of {card.reference}", ("organ", "Dice"), rows)
    result = {"checkpoint": card.reference, "kind": card.kind, "metrics": card.metrics}
    console.emit(result, table, f"Published {card.reference}.", as_json=as_json)
