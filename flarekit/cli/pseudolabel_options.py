"""What `flarekit pseudolabel` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.config.consensus import COMBINATIONS, LAYOUTS, SCORES

VOTES, KEPT, WRITTEN = "Who votes", "What is kept", "What is written"

Inputs = Annotated[list[Path], typer.Argument(help="CTs, or folders of them.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the masks, ledger.jsonl and ledger.csv.")]
Models = Annotated[
    str, typer.Option("--models", rich_help_panel=VOTES, help="Reference checkpoints that vote, comma-separated.")
]
Predictions = Annotated[
    list[str] | None,
    typer.Option(
        "--predictions",
        rich_help_panel=VOTES,
        help="A folder of finished label maps that votes too, NAME.nii.gz for the case NAME; as TITLE=FOLDER "
        "it is called TITLE. Its dataset.json names its ids. Repeatable.",
    ),
]
PropagationModel = Annotated[
    str | None,
    typer.Option(
        "--propagation-model",
        rich_help_panel=VOTES,
        help="Have the models label a few slices and this checkpoint carry them to the others, as segment does. "
        "Such a mask votes with full certainty. Without it the models label every slice.",
    ),
]
Threshold = Annotated[
    float, typer.Option("--threshold", rich_help_panel=KEPT, help="The score a case is kept with, 0..1.")
]
PerOrgan = Annotated[
    bool,
    typer.Option(
        "--per-organ",
        rich_help_panel=KEPT,
        help="Judge every organ by itself: one below the threshold becomes 'ignore' in the mask.",
    ),
]
Certainty = Annotated[
    float,
    typer.Option(
        "--certainty",
        min=0,
        max=1,
        rich_help_panel=KEPT,
        help="Voxels whose class has a lower mean probability over the members become 'ignore'. Scores are of all.",
    ),
]
Score = Annotated[
    str,
    typer.Option(
        "--score",
        rich_help_panel=KEPT,
        help=f"{', '.join(SCORES)}: Dice of each member against the consensus (the paper) or against that of the "
        "others, IoU over thirds (the authors' code), or 1 - the share of voxels that changed since --previous.",
    ),
]
Combine = Annotated[
    str,
    typer.Option(
        "--combine", rich_help_panel=KEPT, help=f"{' or '.join(COMBINATIONS)}: summed, or a vote a member and voxel."
    ),
]
Previous = Annotated[
    Path | None,
    typer.Option(
        "--previous",
        rich_help_panel=KEPT,
        help="The output of the round before, for instability; a case it rejected needs its --write-rejected.",
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty", rich_help_panel=WRITTEN, help="Write maps of the entropy of the mean probabilities, 0..1."
    ),
]
WriteRejected = Annotated[
    bool, typer.Option("--write-rejected", rich_help_panel=WRITTEN, help="Write rejected masks too, to rejected/.")
]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        rich_help_panel=WRITTEN,
        help=f"{' or '.join(LAYOUTS)}: imagesTr and labelsTr, to train nnU-Net v2 on: call OUTPUT DatasetNNN_NAME.",
    ),
]
RoundNumber = Annotated[
    int,
    typer.Option("--round", rich_help_panel=WRITTEN, min=1, help="Round of training and labelling, for the ledger."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew, over the ledger and masks that are there.")]
