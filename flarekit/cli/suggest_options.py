"""What `flarekit suggest` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Case = Annotated[Path, typer.Argument(help="The CT.")]
Drawn = Annotated[
    Path | None, typer.Argument(help="The label map drawn so far, on the CT's grid; without it, the first slices.")
]
Count = Annotated[int, typer.Option("-n", "--count", min=1, max=100, help="Suggest so many slices.")]
Slices = Annotated[
    str | None,
    typer.Option("--slices", help="The annotated slices, as for propagate. Without it, those that hold a label."),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="A slice shows some organs only: it may be suggested for the others.")
]
Organs = Annotated[
    str | None, typer.Option("--organs", help="Look for these only: names or label ids, comma-separated.")
]
Mask = Annotated[
    Path | None, typer.Option("--mask", help="What was propagated from the drawing, to rank by and to show.")
]
Picture = Annotated[
    Path | None, typer.Option("--picture", help="Write a PNG: the gain of every slice, and the first suggestions.")
]
Model = Annotated[str, typer.Option("--model", help="Propagation checkpoint: NAME or NAME@VERSION.")]
Reference = Annotated[
    str,
    typer.Option("--reference", help="Reference checkpoint, to find organs not drawn yet; 'none' looks for no such."),
]
