"""What `flarekit propagate` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WHAT, HOW = "What is carried", "How it is carried"

Case = Annotated[Path, typer.Argument(help="The CT.")]
Masks = Annotated[Path, typer.Argument(help="A label map on the CT's grid, drawn on some slices.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The label map to write.")]
Slices = Annotated[
    str | None,
    typer.Option(
        "--slices",
        rich_help_panel=WHAT,
        help="The annotated slices, 10,20,30 or first:stop:step, counted from 0 along the CT file's axial axis: "
        "an empty one says that nothing is there. Without it, the slices that hold a label.",
    ),
]
Organs = Annotated[
    str | None,
    typer.Option("--organs", rich_help_panel=WHAT, help="Carry these only: names or label ids, comma-separated."),
]
Model = Annotated[
    str, typer.Option("--model", rich_help_panel=HOW, help="Propagation checkpoint: NAME or NAME@VERSION.")
]
TopK = Annotated[
    int, typer.Option("--top-k", rich_help_panel=HOW, min=0, help="Memory tokens read for each place; 0 reads all.")
]
Before = Annotated[
    int | None,
    typer.Option(
        "--before", rich_help_panel=WHAT, min=0, help="Fill so many slices below an annotated one; all without it."
    ),
]
After = Annotated[
    int | None,
    typer.Option(
        "--after", rich_help_panel=WHAT, min=0, help="Fill so many slices above an annotated one; all without it."
    ),
]
MemoryEvery = Annotated[
    int,
    typer.Option(
        "--memory-every", rich_help_panel=HOW, min=0, help="Remember every Nth propagated slice too; 0 remembers none."
    ),
]
MemoryBudgetMb = Annotated[
    int,
    typer.Option(
        "--memory-budget-mb",
        rich_help_panel=HOW,
        min=1,
        help="Room for all that is remembered, annotated slices first.",
    ),
]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial", rich_help_panel=WHAT, help="A slice shows some organs only: look on it for those it does not hold."
    ),
]
Refine = Annotated[
    bool,
    typer.Option("--refine", rich_help_panel=HOW, help="Find annotated slices anew too, which smooths what was drawn."),
]
Outlines = Annotated[
    bool,
    typer.Option(
        "--outlines/--no-outlines",
        rich_help_panel=HOW,
        help="Let the outlines of near annotated slices count beside the network.",
    ),
]
Intensities = Annotated[
    bool,
    typer.Option(
        "--intensities/--no-intensities",
        rich_help_panel=HOW,
        help="Let the HU in and around those outlines count beside the network.",
    ),
]
Dense = Annotated[
    bool,
    typer.Option(
        "--dense", rich_help_panel=HOW, help="Look for all organs on the whole of every slice: slow, to compare with."
    ),
]
