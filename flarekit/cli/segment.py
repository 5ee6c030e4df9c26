"""`flarekit segment`: a CT to a label map in its own space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Backend, Challenge, Device, HuOffset, Json, Overwrite, Series, device_for
from flarekit.config.reference import BACKENDS, SELECTIONS, SamplingConfig, SelectionConfig
from flarekit.config.segment import SegmentConfig
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from flarekit.pipeline import Segmentation

SAMPLING, SELECTION = SamplingConfig(), SelectionConfig()


def segment(
    case: Annotated[Path, typer.Argument(help="A CT: .nii, .nii.gz, .nrrd, .mha, or DICOM (a folder or its zip).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The label map; CASE_seg.nii.gz here without it.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Reference checkpoint.")] = "starter-reference",
    propagation_model: Annotated[
        str, typer.Option("--propagation-model", help="Propagation checkpoint.")
    ] = "starter-propagation",
    sample_every: Annotated[
        int | None,
        typer.Option(
            "--sample-every", min=1, help=f"Look at every Nth slice; about every {SAMPLING.every_mm:g} mm without it."
        ),
    ] = SAMPLING.every,
    max_references: Annotated[
        int, typer.Option("--max-references", min=1, help="At most so many slices are propagated from.")
    ] = SELECTION.max_references,
    slices_per_organ: Annotated[
        int, typer.Option("--slices-per-organ", min=1, help="Reference slices chosen for every organ.")
    ] = SELECTION.slices_per_organ,
    selection: Annotated[
        str, typer.Option("--selection", help=f"How they are chosen: {', '.join(SELECTIONS)}.")
    ] = SELECTION.strategy,
    no_propagation: Annotated[
        bool, typer.Option("--no-propagation", help="Run the reference module on every slice instead.")
    ] = False,
    challenge: Challenge = False,
    overlay: Annotated[Path | None, typer.Option("--overlay", help="Draw the result to this PNG.")] = None,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    device: Device = "auto",
    backend: Backend = BACKENDS[0],
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Segment the organs of a CT; a JSON beside the mask says volumes, confidence, and what made it."""
    from flarekit.pipeline.files import SegmentFiles, load_models, segment_file
    from flarekit.volumes.hu import parse_offset

    config = _config(sample_every, max_references, slices_per_organ, selection)
    files = SegmentFiles.of(case, output, overlay, series=series, hu_offset=parse_offset(hu_offset))
    files.check(overwrite=overwrite)
    propagation = None if no_propagation else propagation_model
    target = device_for(backend, device)
    models = load_models(model, propagation, target, challenge=challenge, backend=backend)
    segmentation, result = segment_file(files, models, config, overwrite=overwrite)
    console.emit(result, organ_table(segmentation), f"Wrote {files.mask}.", as_json=json)


def organ_table(segmentation: Segmentation) -> Table:
    """Volume and confidence of every organ."""
    rows = [(organ.name, f"{organ.volume_ml:.1f}", organ.confidence) for organ in segmentation.organs]
    return console.table("Organs", ("organ", "mL", "confidence"), rows)


def _config(sample_every: int | None, max_references: int, slices_per_organ: int, selection: str) -> SegmentConfig:
    if selection not in SELECTIONS:
        raise UsageError(f"unknown selection {selection!r}", remedy=f"Use one of {', '.join(SELECTIONS)}.")
    return SegmentConfig(
        sampling=SamplingConfig(every=sample_every),
        selection=SelectionConfig(strategy=selection, slices_per_organ=slices_per_organ, max_references=max_references),
    )
