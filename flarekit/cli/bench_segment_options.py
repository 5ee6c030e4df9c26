"""What `flarekit bench segment` can be asked for, beside what it hands on to `flarekit segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Cases = Annotated[
    list[Path] | None,
    typer.Argument(
        help="CTs, DICOM folders, or folders of CTs; a painted CT of --shape without any.", show_default=False
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="A new folder for efficiency.json, efficiency.png and the masks."),
]
Shape = Annotated[str, typer.Option("--shape", help="Shape of the painted CT: slices x rows x columns.")]
