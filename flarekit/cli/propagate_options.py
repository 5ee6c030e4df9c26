"""What `flarekit propagate` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Case = Annotated[Path, typer.Argument(help="The CT.")]
Masks = Annotated[Path, typer.Argument(help="A label map on the CT's grid, drawn on some slices.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The label map to write.")]
Slices = Annotated[
    str | None,
    typer.Option(
        "--slices",
        help="The annotated slices, 10,20,30 or first:stop:step, counted from 0 along the CT file's axial axis: "
        "an empty one says that nothing is there. Without it, the slices that hold a label.",
    ),
]
Organs = Annotated[str | None, typer.Option("--organs", help="Carry these only: names or label ids, comma-separated.")]
Model = Annotated[str, typer.Option("--model", help="Propagation checkpoint.")]
TopK = Annotated[int, typer.Option("--top-k", min=0, help="Memory tokens read for each place; 0 reads all.")]
Before = Annotated[
    int | None, typer.Option("--before", min=0, help="Fill so many slices below an annotated one; all without.")
]
After = Annotated[
    int | None, typer.Option("--after", min=0, help="Fill so many slices above an annotated one; all without.")
]
MemoryEvery = Annotated[
    int, typer.Option("--memory-every", min=0, help="Remember every Nth propagated slice too; 0 none.")
]
MemoryBudgetMb = Annotated[
    int, typer.Option("--memory-budget-mb", min=1, help="Room for all that is remembered, annotated slices first.")
]
Partial = Annotated[
    bool, typer.Option("--partial", help="A slice shows some organs only: look on it for those it does not hold.")
]
Refine = Annotated[bool, typer.Option("--refine", help="Find annotated slices anew too, which smooths what was drawn.")]
Outlines = Annotated[bool, typer.Option(help="Let the outlines of near annotated slices count beside the network.")]
Dense = Annotated[
    bool, typer.Option("--dense", help="Look for all organs on the whole of every slice: slow, to compare with.")
]
