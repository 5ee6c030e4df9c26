"""What `flarekit phantom` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.config.hard import HARD_KINDS
from flarekit.config.phantom import RECIPES

CASES, PAINTING = "Cases", "Painting"

Output = Annotated[Path, typer.Argument(help="The data set's folder; a stopped run goes on.")]
Maps = Annotated[
    list[Path] | None,
    typer.Option(
        "--labels",
        rich_help_panel=CASES,
        help="Label map to paint on, or a folder of them; repeatable. Synthetic without it.",
    ),
]
UnlabelledMaps = Annotated[
    list[Path] | None,
    typer.Option(
        "--unlabelled-labels",
        rich_help_panel=CASES,
        help="The same for the unlabelled part; those of --labels without it.",
    ),
]
Labelled = Annotated[
    int | None,
    typer.Option("--labelled", rich_help_panel=CASES, min=0, help="Labelled cases; without it one a label map, or 4."),
]
Unlabelled = Annotated[
    int, typer.Option("--unlabelled", rich_help_panel=CASES, min=0, help="Unlabelled cases; their truth lies apart.")
]
Recipe = Annotated[
    str, typer.Option("--recipe", rich_help_panel=PAINTING, help=f"What is random: {', '.join(RECIPES)}.")
]
Hard = Annotated[
    str | None,
    typer.Option(
        "--hard",
        rich_help_panel=PAINTING,
        help=f"The same anatomy under conditions that training does not show: {', '.join(HARD_KINDS)}; all paints "
        "a data set easy/ and one of each kind.",
    ),
]
Spacing = Annotated[
    float, typer.Option("--spacing", rich_help_panel=PAINTING, min=0.2, max=10, help="Pixel size in mm.")
]
Size = Annotated[
    int, typer.Option("--size", rich_help_panel=PAINTING, min=32, max=2048, help="Pixels along both sides.")
]
SliceDistance = Annotated[
    float | None,
    typer.Option(
        "--slice-distance",
        rich_help_panel=PAINTING,
        min=0.2,
        max=20,
        help="Distance of slices in mm; drawn by the recipe without it.",
    ),
]
Tissues = Annotated[
    bool,
    typer.Option(
        "--tissues",
        rich_help_panel=PAINTING,
        help="Make OUTPUT a slice store of tissues instead: train with --labelled OUTPUT, which paints each slice "
        "anew whenever it is drawn.",
    ),
]
Compression = Annotated[
    str | None,
    typer.Option(
        "--compression",
        rich_help_panel=PAINTING,
        help="Of --tissues: bitshuffle-lz4 (without it), bitshuffle-zstd, gzip or none. gzip and none are read by "
        "h5py alone.",
    ),
]
