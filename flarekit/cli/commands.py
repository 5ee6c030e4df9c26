"""Every command, registered on the application. Importing this imports no heavy library."""

from __future__ import annotations

from flarekit.cli import bench, evaluate, models, selftrain, store, train
from flarekit.cli.ablate import ablate
from flarekit.cli.app import app
from flarekit.cli.check import check
from flarekit.cli.demo import demo
from flarekit.cli.docker import docker
from flarekit.cli.doctor import doctor
from flarekit.cli.phantom import phantom
from flarekit.cli.preprocess import preprocess
from flarekit.cli.propagate import propagate
from flarekit.cli.pseudolabel import EPILOG as PSEUDOLABEL_EXAMPLES
from flarekit.cli.pseudolabel import pseudolabel
from flarekit.cli.report import report
from flarekit.cli.segment import segment
from flarekit.cli.suggest import suggest

# The panels of `flarekit --help`, from a first look over training to what surrounds it.
USE, DATA, TRAIN = "Segment and annotate", "Prepare data", "Train, and label the rest"
MEASURE, KEEP = "Measure", "Checkpoints, containers, this machine"

app.command(rich_help_panel=USE, epilog="Example: `flarekit demo -o flarekit-demo`")(demo)
app.command(
    rich_help_panel=USE,
    epilog="Examples: `flarekit segment case.nii.gz -o mask.nii.gz --statistics --preview`; a folder of CTs: "
    "`flarekit segment CTs -o masks --workers 2`; DICOM to a DICOM-SEG: `flarekit segment scan -o seg.dcm`",
)(segment)
app.command(rich_help_panel=USE, epilog="Example: `flarekit report case.nii.gz mask.nii.gz -o case.html`")(report)
app.command(
    rich_help_panel=USE, epilog="Example: `flarekit propagate ct.nii.gz sketch.nii.gz -o mask.nii.gz --slices 10,30,50`"
)(propagate)
app.command(rich_help_panel=USE, epilog="Example: `flarekit suggest ct.nii.gz sketch.nii.gz --picture next.png`")(
    suggest
)
app.command(rich_help_panel=DATA, epilog="Example: `flarekit check FLARE22Train --workers 2`")(check)
app.command(rich_help_panel=DATA, epilog="Example: `flarekit preprocess FLARE22Train -o stores/labelled --workers 2`")(
    preprocess
)
app.add_typer(store.app, name="store", rich_help_panel=DATA)
app.add_typer(train.app, name="train", rich_help_panel=TRAIN)
app.command(rich_help_panel=TRAIN, epilog=PSEUDOLABEL_EXAMPLES)(pseudolabel)
app.add_typer(selftrain.app, name="selftrain", rich_help_panel=TRAIN)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=MEASURE)
app.command(rich_help_panel=MEASURE, epilog="Example: `flarekit ablate examples/ablate.toml -o ablation`")(ablate)
app.add_typer(models.app, name="models", rich_help_panel=KEEP)
app.add_typer(bench.app, name="bench", rich_help_panel=MEASURE)
app.command(
    rich_help_panel=DATA, epilog="Example: `flarekit phantom painted --labels labelsTr --labelled 10 --unlabelled 20`"
)(phantom)
app.command(
    rich_help_panel=KEEP,
    epilog="Example: `flarekit docker team --model mine --propagation-model mine-stcn --challenge`",
)(docker)
app.command(rich_help_panel=KEEP, epilog="Example: `flarekit doctor --json`")(doctor)

__all__ = ["app"]
