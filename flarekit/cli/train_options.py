"""The options of `flarekit train`. Each says where its default comes from: the paper, or that it is ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import WINDOWS
from flarekit.config.training import AUGMENTATIONS, MIRRORS, PRECISIONS, REFERENCE_NETWORKS, SCHEDULES

RUN, DATA, NETWORKS, LEARNING, LOSS = "The run", "Cases", "Networks", "Learning", "Batches and losses"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        rich_help_panel=RUN,
        help="Take settings from this TOML file, such as a run folder's config.toml; options given besides win.",
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", rich_help_panel=RUN, help="Name of the run's folder and of the checkpoint.")
]
Runs = Annotated[Path, typer.Option("--runs", rich_help_panel=RUN, help="Folder that holds the run folders.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", rich_help_panel=RUN, help="Go on with the run of this name; one that is finished is left as it is."
    ),
]
Iterations = Annotated[
    int, typer.Option("--iterations", min=1, rich_help_panel=RUN, help="Optimiser steps (paper, tables 2 and 3).")
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, rich_help_panel=RUN, help="Seed of first weights, samples and dropout (ours)."),
]
ValidateEvery = Annotated[
    int, typer.Option("--validate-every", min=1, rich_help_panel=RUN, help="Iterations between validations (ours).")
]
ValidationStride = Annotated[
    int, typer.Option("--validation-stride", min=1, rich_help_panel=RUN, help="Validate on every n-th slice (ours).")
]
SaveEvery = Annotated[
    int,
    typer.Option("--save-every", min=1, rich_help_panel=RUN, help="Iterations between states to resume from (ours)."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        rich_help_panel=RUN,
        help="Processes that load slices; without it 4 beside a GPU, none on a CPU.",
    ),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", rich_help_panel=RUN, help="Write the metrics for TensorBoard as well.")
]

Labelled = Annotated[
    list[Path] | None,
    typer.Option("--labelled", rich_help_panel=DATA, help="Slice store with labels; repeatable."),
]
Unlabelled = Annotated[
    list[Path] | None,
    typer.Option("--unlabelled", rich_help_panel=DATA, help="Slice store without labels; repeatable."),
]
UnlabelledForPseudo = Annotated[
    list[Path] | None,
    typer.Option(
        "--unlabelled", rich_help_panel=DATA, help="Slice store with the cases that --pseudo-labels are of; repeatable."
    ),
]
PseudoLabels = Annotated[
    list[Path] | None,
    typer.Option(
        "--pseudo-labels",
        rich_help_panel=DATA,
        help="A folder that flarekit pseudolabel wrote: unlabelled cases whose masks it kept are learned from with "
        "these (section 2.2). Of several folders the last one's mask of a case counts.",
    ),
]
Validation = Annotated[
    Path | None,
    typer.Option(
        "--validation",
        rich_help_panel=DATA,
        help="Slice store to validate on; a tenth of the labelled cases without it (ours).",
    ),
]
Fold = Annotated[
    str | None,
    typer.Option(
        "--fold",
        rich_help_panel=DATA,
        metavar="K/N",
        help="Validate on part K of N of the labelled cases, the same parts for every seed (ours).",
    ),
]
Augmentation = Annotated[
    str,
    typer.Option(
        "--augmentation",
        rich_help_panel=DATA,
        help=f"Random changes of slices: {', '.join(AUGMENTATIONS)}. The paper's (section 3.2) are flips and rotations "
        "by quarter turns.",
    ),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        rich_help_panel=DATA,
        help=f"What a reflection does: {' or '.join(MIRRORS)}; swap exchanges the labels of paired organs (ours). "
        "As the augmentation says without it.",
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(
        "--crop",
        rich_help_panel=DATA,
        help="Side of a random crop in pixels; whole slices without it (paper, table 2).",
    ),
]

Arch = Annotated[
    str,
    typer.Option(
        "--arch",
        rich_help_panel=NETWORKS,
        help=f"Sizes: {', '.join(ARCHITECTURES)}. paper has the paper's parameters (tables 2 and 3).",
    ),
]
Windows = Annotated[
    str | None,
    typer.Option(
        "--windows",
        rich_help_panel=NETWORKS,
        help=f"Window preset: {', '.join(WINDOWS)} (section 2.1); as --arch or --init says without it.",
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        rich_help_panel=NETWORKS,
        help="Fine-tune this checkpoint, or TransUNet of one and DeepLabV3+ of another (one,other); sizes and "
        "preprocessing are kept. Random weights without it (table 2).",
    ),
]
EncoderWeights = Annotated[
    str | None,
    typer.Option(
        "--encoder-weights",
        rich_help_panel=NETWORKS,
        help="Start DeepLabV3+'s encoder from ImageNet: a name of timm's weights, or a file of them (ours).",
    ),
]
Network = Annotated[
    str,
    typer.Option(
        "--network",
        rich_help_panel=NETWORKS,
        help=f"What to train: {' or '.join(REFERENCE_NETWORKS)}; the paper trains the pair (section 2.2).",
    ),
]

Lr = Annotated[float, typer.Option("--lr", rich_help_panel=LEARNING, help="Highest learning rate (tables 2 and 3).")]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule",
        rich_help_panel=LEARNING,
        help=f"Learning rate over time: {', '.join(SCHEDULES)}. step halves it at 80 % and 90 % (tables 2 and 3).",
    ),
]
Warmup = Annotated[
    int,
    typer.Option(
        "--warmup", min=0, rich_help_panel=LEARNING, help="Iterations over which the rate grows first (ours)."
    ),
]
WeightDecay = Annotated[
    float, typer.Option("--weight-decay", min=0, rich_help_panel=LEARNING, help="AdamW's; the paper names none.")
]
ClipNorm = Annotated[
    float | None,
    typer.Option(
        "--clip-norm", rich_help_panel=LEARNING, help="Scale gradients down to this L2 norm; off without it (ours)."
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        "--ema",
        rich_help_panel=LEARNING,
        help="Validate and publish a running average of the weights, such as 0.999: what it keeps of itself in an "
        "iteration (ours; Tarvainen and Valpola 2017). The weights themselves without it.",
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate",
        min=1,
        rich_help_panel=LEARNING,
        help="Batches an optimiser step, for more than memory holds (ours).",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        rich_help_panel=LEARNING,
        help=f"Arithmetic: {', '.join(PRECISIONS)} (ours); on CPUs fp32, and bf16 where they have AVX512-BF16 or AMX.",
    ),
]

LabelledBatch = Annotated[
    int,
    typer.Option(
        "--labelled-batch", min=1, rich_help_panel=LOSS, help="Labelled slices a batch and process (table 2)."
    ),
]
UnlabelledBatch = Annotated[
    int,
    typer.Option(
        "--unlabelled-batch",
        min=0,
        rich_help_panel=LOSS,
        help="Unlabelled slices a batch and process (table 2); 0 uses labels alone.",
    ),
]
PseudoBatch = Annotated[
    int | None,
    typer.Option(
        "--pseudo-batch",
        min=1,
        rich_help_panel=LOSS,
        help="So many of a batch's unlabelled slices are learned from by --pseudo-labels, and all labelled slices are "
        "true ones; without it cases with pseudo-labels join the labelled ones (section 2.2).",
    ),
]
OrganShare = Annotated[
    float,
    typer.Option(
        "--organ-share", min=0, max=1, rich_help_panel=LOSS, help="Share of labelled slices drawn organ first (ours)."
    ),
]
Smoothing = Annotated[
    float,
    typer.Option("--smoothing", rich_help_panel=LOSS, help="Smoothing of the Dice loss in voxels (section 2.2)."),
]
Consistency = Annotated[
    float,
    typer.Option(
        "--consistency",
        min=0,
        rich_help_panel=LOSS,
        help="Weight of the unsupervised loss once it has grown (SSL4MIS's; the paper names none).",
    ),
]
Rampup = Annotated[
    int | None,
    typer.Option(
        "--rampup",
        min=0,
        rich_help_panel=LOSS,
        help="Iterations over which that weight grows (ours; the authors counted epochs); 40 % of all without it.",
    ),
]
Confidence = Annotated[
    float,
    typer.Option(
        "--confidence",
        min=0,
        max=1,
        rich_help_panel=LOSS,
        help="Learn from the other network's label of a pixel only where it is as probable as this; 0 learns from all "
        "(section 2.2), more than 0 is FixMatch's idea.",
    ),
]
Clips = Annotated[
    int,
    typer.Option("--clips", min=1, rich_help_panel=LOSS, help="Clips of three slices a batch and process (table 3)."),
]
ObjectsPerClip = Annotated[
    int,
    typer.Option(
        "--objects-per-clip", min=1, max=2, rich_help_panel=LOSS, help="Organs followed in a clip (section 2.2: one)."
    ),
]
FirstGapMm = Annotated[
    float,
    typer.Option("--first-gap-mm", rich_help_panel=LOSS, help="Longest way between a clip's slices at first (ours)."),
]
LastGapMm = Annotated[
    float,
    typer.Option("--last-gap-mm", rich_help_panel=LOSS, help="Longest way between a clip's slices in the end (ours)."),
]
BetweenShare = Annotated[
    float,
    typer.Option(
        "--between-share",
        min=0,
        max=1,
        rich_help_panel=LOSS,
        help="Share of clips that end between the two slices in memory (ours).",
    ),
]
LeaveOut = Annotated[
    str | None,
    typer.Option(
        "--leave-out",
        rich_help_panel=LOSS,
        help="Organs that are neither followed nor validated on, comma-separated: background where a slice shows "
        "them (ours).",
    ),
]
BootstrapShare = Annotated[
    float,
    typer.Option(
        "--bootstrap-share",
        min=0,
        max=1,
        rich_help_panel=LOSS,
        help="Hardest share of voxels that cross-entropy keeps in the end (section 2.2; STCN's value).",
    ),
]
