"""What `flarekit segment` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.config.reference import SELECTIONS, SamplingConfig

SAMPLING = SamplingConfig()
WRITTEN, METHOD = "What is written", "How it is segmented"

Case = Annotated[
    Path | None,
    typer.Argument(
        help="A CT: .nii, .nii.gz, .nrrd, .mha, or DICOM (a folder or its zip); or a folder of CTs.",
        show_default=False,
    ),
]
Source = Annotated[Path | None, typer.Option("-i", "--input", help="The same, as an option.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="The label map, CASE_seg.nii.gz here without it, or a DICOM-SEG (.dcm); of many cases, a folder.",
    ),
]
Organs = Annotated[
    str | None,
    typer.Option("--organs", rich_help_panel=WRITTEN, help="Write these only, as liver,spleen; all without it."),
]
LabelMap = Annotated[
    str | None,
    typer.Option(
        "--label-map",
        rich_help_panel=WRITTEN,
        help="Ids to write: flare22, totalsegmentator, or a .toml or .json file of organ = id.",
    ),
]
Split = Annotated[
    bool,
    typer.Option("--split", rich_help_panel=WRITTEN, help="One file an organ, in a folder (-o), for one label map."),
]
DicomSeg = Annotated[
    bool,
    typer.Option(
        "--dicom-seg",
        rich_help_panel=WRITTEN,
        help="Of DICOM: a DICOM Segmentation (.dcm), organs in SNOMED CT codes, in place of the label map. "
        "Needs flarekit[dicom].",
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option("--uncertainty", rich_help_panel=WRITTEN, help="A map of how unsure every voxel is, 0..1."),
]
SaveProbabilities = Annotated[
    bool,
    typer.Option("--save-probabilities", rich_help_panel=WRITTEN, help="A map of every organ's probability."),
]
Statistics = Annotated[
    bool,
    typer.Option(
        "--statistics",
        rich_help_panel=WRITTEN,
        help="HU, extent and pieces of every organ, and where the field of view cuts it; also as CSV.",
    ),
]
Preview = Annotated[
    bool, typer.Option("--preview", rich_help_panel=WRITTEN, help="Draw the mask over the CT, as a PNG.")
]
Report = Annotated[
    bool,
    typer.Option(
        "--report",
        rich_help_panel=WRITTEN,
        help="A web page to look the mask over in, and an index of a folder's; the CT is in it, reduced.",
    ),
]
Colours = Annotated[
    bool,
    typer.Option("--colours/--no-colours", rich_help_panel=WRITTEN, help="Colour tables for ITK-SNAP and 3D Slicer."),
]
Model = Annotated[
    str, typer.Option("--model", rich_help_panel=METHOD, help="Reference checkpoint: NAME or NAME@VERSION.")
]
PropagationModel = Annotated[
    str,
    typer.Option("--propagation-model", rich_help_panel=METHOD, help="Propagation checkpoint: NAME or NAME@VERSION."),
]
SampleEvery = Annotated[
    int | None,
    typer.Option(
        "--sample-every",
        min=1,
        rich_help_panel=METHOD,
        help=f"Look at every Nth slice; about every {SAMPLING.every_mm:g} mm without it.",
    ),
]
MaxReferences = Annotated[
    int,
    typer.Option("--max-references", min=1, rich_help_panel=METHOD, help="At most so many slices are propagated from."),
]
SlicesPerOrgan = Annotated[
    int,
    typer.Option("--slices-per-organ", min=1, rich_help_panel=METHOD, help="Reference slices chosen for every organ."),
]
Selection = Annotated[
    str,
    typer.Option("--selection", rich_help_panel=METHOD, help=f"How they are chosen: {', '.join(SELECTIONS)}."),
]
NoPropagation = Annotated[
    bool,
    typer.Option("--no-propagation", rich_help_panel=METHOD, help="Run the reference module on every slice instead."),
]
Flips = Annotated[
    bool,
    typer.Option(
        "--flips",
        rich_help_panel=METHOD,
        help="Let the reference module look at slices left for right as well, in twice the time: for checkpoints that "
        "learned from reflected slices. The starter weights did not, and it harms them.",
    ),
]
LeastPiece = Annotated[
    float,
    typer.Option(
        "--least-piece",
        min=0.0,
        max=1.0,
        rich_help_panel=METHOD,
        help="Drop pieces of FLARE22's organs that have less than this share of the largest one's voxels; 0 keeps all.",
    ),
]
Force = Annotated[bool, typer.Option("--force", rich_help_panel=METHOD, help="Segment what cannot be a CT in HU, too.")]
