"""`flarekit train`: one network of the reference pair, the pair, and the propagation network.

Options are parameters so that --help shows them with their defaults; `run_settings` reads them from the context,
which knows those that were given from those that were left at their default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

from flarekit.cli import console
from flarekit.cli import train_options as option
from flarekit.cli.options import Challenge, Device, Json, resolve_device
from flarekit.cli.train_settings import run_settings
from flarekit.config.run import RunSettings
from flarekit.config.training import CPSConfig, LoopConfig, OptimiserConfig, STCNTrainingConfig, SupervisedConfig
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from flarekit.checkpoints import Card

T = TypeVar("T", SupervisedConfig, CPSConfig, STCNTrainingConfig)

SEVERAL_MODELS = (
    "Models for a consensus: `for k in 1 2 3; do flarekit train {command} --labelled stores/labelled "
    "--unlabelled stores/unlabelled --name mine-$k --fold $k/3 --seed $k; done`. "
    "Several GPUs: `accelerate launch --multi_gpu -m flarekit train {command} ...`."
)

app = typer.Typer(
    no_args_is_help=True,
    help="Train one network on labels (supervised), the reference pair (cps), the propagation network (stcn).",
)


@app.command(
    epilog="Example: `flarekit train supervised --labelled stores/labelled --name start --network transunet "
    "--arch lite`"
)
def supervised(
    context: typer.Context,
    labelled: option.Labelled = None,
    unlabelled: option.UnlabelledForPseudo = None,
    pseudo_labels: option.PseudoLabels = None,
    name: option.Name = None,
    config: option.Config = None,
    validation: option.Validation = None,
    fold: option.Fold = None,
    network: option.Network = SupervisedConfig.network,
    arch: option.Arch = RunSettings.arch,
    windows: option.Windows = None,
    init: option.Init = None,
    challenge: Challenge = RunSettings.challenge,
    encoder_weights: option.EncoderWeights = None,
    iterations: option.Iterations = LoopConfig.iterations,
    labelled_batch: option.LabelledBatch = SupervisedConfig.labelled_batch,
    organ_share: option.OrganShare = SupervisedConfig.organ_share,
    smoothing: option.Smoothing = SupervisedConfig.smoothing,
    lr: option.Lr = OptimiserConfig.lr,
    schedule: option.Schedule = OptimiserConfig.schedule,
    warmup: option.Warmup = OptimiserConfig.warmup,
    weight_decay: option.WeightDecay = OptimiserConfig.weight_decay,
    clip_norm: option.ClipNorm = OptimiserConfig.clip_norm,
    ema: option.Ema = OptimiserConfig.ema,
    accumulate: option.Accumulate = LoopConfig.accumulate,
    augmentation: option.Augmentation = "paper",
    mirror: option.Mirror = None,
    crop: option.Crop = SupervisedConfig.crop,
    validate_every: option.ValidateEvery = LoopConfig.validate_every,
    validation_stride: option.ValidationStride = LoopConfig.validation_stride,
    save_every: option.SaveEvery = LoopConfig.save_every,
    precision: option.Precision = LoopConfig.precision,
    seed: option.Seed = LoopConfig.seed,
    workers: option.Workers = LoopConfig.workers,
    tensorboard: option.TensorBoard = RunSettings.tensorboard,
    device: Device = RunSettings.device,
    runs: option.Runs = RunSettings.runs,
    resume: option.Resume = False,
    json: Json = False,
) -> None:
    """Train one network of the reference pair on labelled slices and publish the best one as a checkpoint.

    It segments on its own, and is what `train cps --init` can start from.
    """
    _train(context, SupervisedConfig)


@app.command(
    epilog="Example: `flarekit train cps --labelled stores/labelled --unlabelled stores/unlabelled --name mine "
    "--arch lite`\n\n" + SEVERAL_MODELS.format(command="cps")
)
def cps(
    context: typer.Context,
    labelled: option.Labelled = None,
    unlabelled: option.Unlabelled = None,
    pseudo_labels: option.PseudoLabels = None,
    name: option.Name = None,
    config: option.Config = None,
    validation: option.Validation = None,
    fold: option.Fold = None,
    arch: option.Arch = RunSettings.arch,
    windows: option.Windows = None,
    init: option.Init = None,
    challenge: Challenge = RunSettings.challenge,
    encoder_weights: option.EncoderWeights = None,
    iterations: option.Iterations = LoopConfig.iterations,
    labelled_batch: option.LabelledBatch = CPSConfig.labelled_batch,
    unlabelled_batch: option.UnlabelledBatch = CPSConfig.unlabelled_batch,
    pseudo_batch: option.PseudoBatch = CPSConfig.pseudo_batch,
    organ_share: option.OrganShare = CPSConfig.organ_share,
    smoothing: option.Smoothing = CPSConfig.smoothing,
    consistency: option.Consistency = CPSConfig.consistency,
    rampup: option.Rampup = CPSConfig.rampup,
    confidence: option.Confidence = CPSConfig.confidence,
    lr: option.Lr = OptimiserConfig.lr,
    schedule: option.Schedule = OptimiserConfig.schedule,
    warmup: option.Warmup = OptimiserConfig.warmup,
    weight_decay: option.WeightDecay = OptimiserConfig.weight_decay,
    clip_norm: option.ClipNorm = OptimiserConfig.clip_norm,
    ema: option.Ema = OptimiserConfig.ema,
    accumulate: option.Accumulate = LoopConfig.accumulate,
    augmentation: option.Augmentation = "paper",
    mirror: option.Mirror = None,
    crop: option.Crop = CPSConfig.crop,
    validate_every: option.ValidateEvery = LoopConfig.validate_every,
    validation_stride: option.ValidationStride = LoopConfig.validation_stride,
    save_every: option.SaveEvery = LoopConfig.save_every,
    precision: option.Precision = LoopConfig.precision,
    seed: option.Seed = LoopConfig.seed,
    workers: option.Workers = LoopConfig.workers,
    tensorboard: option.TensorBoard = RunSettings.tensorboard,
    device: Device = RunSettings.device,
    runs: option.Runs = RunSettings.runs,
    resume: option.Resume = False,
    json: Json = False,
) -> None:
    """Train TransUNet and DeepLabV3+ by cross pseudo supervision and publish the best pair as a checkpoint.

    Both learn from labelled slices, and from each other's masks on unlabelled ones. Defaults are the paper's.
    """
    _train(context, CPSConfig)


@app.command(epilog="Example: `flarekit train stcn --labelled stores/labelled --name mine-stcn --arch lite`")
def stcn(
    context: typer.Context,
    labelled: option.Labelled = None,
    unlabelled: option.UnlabelledForPseudo = None,
    pseudo_labels: option.PseudoLabels = None,
    name: option.Name = None,
    config: option.Config = None,
    validation: option.Validation = None,
    fold: option.Fold = None,
    arch: option.Arch = RunSettings.arch,
    windows: option.Windows = None,
    init: option.Init = None,
    challenge: Challenge = RunSettings.challenge,
    iterations: option.Iterations = LoopConfig.iterations,
    clips: option.Clips = STCNTrainingConfig.clips,
    objects_per_clip: option.ObjectsPerClip = STCNTrainingConfig.objects_per_clip,
    first_gap_mm: option.FirstGapMm = STCNTrainingConfig.first_gap_mm,
    last_gap_mm: option.LastGapMm = STCNTrainingConfig.last_gap_mm,
    between_share: option.BetweenShare = STCNTrainingConfig.between_share,
    leave_out: option.LeaveOut = None,
    bootstrap_share: option.BootstrapShare = STCNTrainingConfig.bootstrap_share,
    lr: option.Lr = OptimiserConfig.lr,
    schedule: option.Schedule = OptimiserConfig.schedule,
    warmup: option.Warmup = OptimiserConfig.warmup,
    weight_decay: option.WeightDecay = OptimiserConfig.weight_decay,
    clip_norm: option.ClipNorm = OptimiserConfig.clip_norm,
    ema: option.Ema = OptimiserConfig.ema,
    accumulate: option.Accumulate = LoopConfig.accumulate,
    augmentation: option.Augmentation = "paper",
    mirror: option.Mirror = None,
    crop: option.Crop = STCNTrainingConfig.crop,
    validate_every: option.ValidateEvery = LoopConfig.validate_every,
    save_every: option.SaveEvery = LoopConfig.save_every,
    precision: option.Precision = LoopConfig.precision,
    seed: option.Seed = LoopConfig.seed,
    workers: option.Workers = LoopConfig.workers,
    tensorboard: option.TensorBoard = RunSettings.tensorboard,
    device: Device = RunSettings.device,
    runs: option.Runs = RunSettings.runs,
    resume: option.Resume = False,
    json: Json = False,
) -> None:
    """Train STCN to carry an organ's mask from slice to slice and publish the best network as a checkpoint.

    It learns organ by organ, whichever they are, from clips of three slices. Defaults are the paper's.
    """
    _train(context, STCNTrainingConfig)


def _train(context: typer.Context, recipe: type[T]) -> None:
    settings, config = run_settings(context, recipe)
    _require_pseudo_labels(context, settings)

    from flarekit.checkpoints import Registry
    from flarekit.training.runs import train

    device, resume = resolve_device(settings.device), context.params["resume"]
    card = train(settings, config, Registry.default(), device=device, resume=resume)
    if card.version:  # the first of several processes alone has published
        _report(card, as_json=context.params["json"])


def _require_pseudo_labels(context: typer.Context, settings: RunSettings) -> None:
    """Raises UsageError where --pseudo-batch is typed for nothing; the file of a run's control may hold it."""
    source = context.get_parameter_source("pseudo_batch")
    if source is not None and source.name == "COMMANDLINE" and not settings.stores.pseudo_labels:
        raise UsageError(
            "--pseudo-batch needs --pseudo-labels", remedy="Name a folder that flarekit pseudolabel wrote."
        )


def _report(card: Card, *, as_json: bool) -> None:
    result = {"checkpoint": card.reference, "kind": card.kind, "metrics": card.metrics}
    organs = card.metrics.get("organs", {})
    rows = [*organs.items(), ("mean", card.metrics.get("dice"))]
    scores = [console.table(f"Validation Dice of {card.reference}", ("organ", "Dice"), rows)] if organs else []
    console.emit(result, *scores, f"Published {card.reference}.", as_json=as_json)
