"""`flarekit evaluate`: scores of masks and of propagation; what confidence, consensus and suggestions are worth."""

from __future__ import annotations

import typer

from flarekit.cli.evaluate.confidence import confidence
from flarekit.cli.evaluate.consensus import consensus
from flarekit.cli.evaluate.invariance import invariance
from flarekit.cli.evaluate.masks import masks
from flarekit.cli.evaluate.propagation import propagation
from flarekit.cli.evaluate.suggest import suggest

app = typer.Typer(
    no_args_is_help=True, help="Score masks against the truth, and propagation and suggestions against rivals."
)

app.command(epilog="Example: `flarekit evaluate masks predictions/ labels/ --csv scores.csv --plot scores.png`")(masks)
app.command(epilog="Example: `flarekit evaluate propagation ct.nii.gz labels.nii.gz --every 5,10,20 --plot dice.png`")(
    propagation
)
app.command(epilog="Example: `flarekit evaluate suggest ct.nii.gz labels.nii.gz --slices 8`")(suggest)
app.command(epilog="Example: `flarekit evaluate consensus pseudo/easy pseudo/noise labels/ --plot calibration.png`")(
    consensus
)
app.command(epilog="Example: `flarekit evaluate invariance case.nii.gz --kinds orientation,spacing`")(invariance)
app.command(epilog="Example: `flarekit evaluate confidence masks/easy masks/noise labels/ --plot confidence.png`")(
    confidence
)
