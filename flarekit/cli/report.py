"""`flarekit report`: a page to look a mask over in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import HuOffset, Json, Overwrite, Series


def report(
    case: Annotated[Path, typer.Argument(help="The CT.")],
    mask: Annotated[Path, typer.Argument(help="Its label map; the JSON beside it is read too.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page; MASK_report.html here without it.")
    ] = None,
    uncertainty: Annotated[
        Path | None, typer.Option("--uncertainty", help="The map that segment --uncertainty wrote, for its plots.")
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset",
            help="A dataset.json with the organs' names and ids; without it, the JSON or the mask's header names them.",
        ),
    ] = None,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """A page about a mask, for a browser: slices with organs in three planes, measurements, confidence, flags.

    One HTML file that needs no network. The CT is in it, reduced to some megabytes: treat it as you treat the CT.
    """
    from flarekit.cli.options import label_set
    from flarekit.files import refuse_input
    from flarekit.report.case_files import ReportFiles, read_case
    from flarekit.report.page import require_new_page, write_report
    from flarekit.volumes.formats import stem
    from flarekit.volumes.hu import parse_offset

    target = output or Path(f"{stem(mask)}_report.html")
    refuse_input(target, case, mask)
    require_new_page(target, overwrite=overwrite)
    files = ReportFiles(
        image=case,
        mask=mask,
        uncertainty=uncertainty,
        labels=None if dataset is None else label_set(dataset),
        series=series,
        hu_offset=parse_offset(hu_offset),
    )
    write_report(target, read_case(files), overwrite=overwrite)
    result = {"page": str(target), "size_mb": round(target.stat().st_size / 1e6, 2)}
    console.emit(result, f"Wrote {target} ({result['size_mb']} MB).", as_json=json)
