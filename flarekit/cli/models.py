"""`flarekit models`: the checkpoint registry from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Overwrite, label_set
from flarekit.config.preprocessing import NORMALISATIONS, WINDOWS, PreprocessingConfig

app = typer.Typer(no_args_is_help=True, help="List, show, remove, export and import checkpoints.")

INPUTS = "transunet, vit-npz, deeplabv3plus, stcn-original"  # a test holds them against the library's
OUTPUTS = "transunet, deeplabv3plus, stcn-original"

Reference = Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]


@app.command("list", epilog="Example: `flarekit models list --json`")
def list_models(json: Json = False) -> None:
    """List the checkpoints of the registry and the packaged ones, damaged ones with what is wrong."""
    from flarekit.checkpoints import Registry

    found = Registry.default().listing()
    rows: list[tuple[object, ...]] = [
        (c.reference, c.kind, len(c.labels.names), _dice(c.metrics), c.created[:10]) for c in found.cards
    ]
    rows += [(name, f"damaged: {error}", None, None, "") for name, error in found.damaged.items()]
    table = console.table("Checkpoints", ("name", "kind", "organs", "validation Dice", "created"), rows)
    damaged = [{"name": name, "error": str(error)} for name, error in found.damaged.items()]
    checkpoints = [card.to_json() for card in found.cards]
    console.emit({"checkpoints": checkpoints, "damaged": damaged}, table, as_json=json)


@app.command(epilog="Examples: `flarekit models show starter-reference`, `flarekit models show --arch paper`")
def show(
    model: Annotated[str | None, typer.Argument(help="NAME or NAME@VERSION.")] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="Show an architecture instead: paper, original, lite.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", min=32, help="Side of the slice FLOPs count for, px.")] = None,
    json: Json = False,
) -> None:
    """Show a checkpoint's card, or an architecture: parameters and FLOPs of every network, part by part."""
    from flarekit.cli.models_view import architecture_view, card_view

    if (model is None) == (arch is None):
        raise typer.BadParameter("name either a checkpoint or --arch")
    if size is not None and size % 32:
        raise typer.BadParameter(f"--size is a multiple of 32, got {size}")
    result, tables = card_view(model, size) if model is not None else architecture_view(str(arch), size)
    console.emit(result, *tables, as_json=json)


@app.command(epilog="Example: `flarekit models rm mine@1`")
def rm(model: Annotated[str, typer.Argument(help="NAME@VERSION, in full.")], json: Json = False) -> None:
    """Remove one version of a checkpoint."""
    from flarekit.checkpoints import Registry

    removed = Registry.default().remove(model)
    console.emit({"removed": removed}, f"Removed {removed}.", as_json=json)


@app.command(
    epilog="Examples: `flarekit models export starter-reference -o starter.zip`, "
    "`flarekit models export mine --as stcn-original -o stcn.pth`"
)
def export(
    model: Reference,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    as_: Annotated[
        str | None, typer.Option("--as", help=f"Write a state dict for another project instead: {OUTPUTS}.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a checkpoint to a zip that `models import` reads on another machine, or for another project."""
    from flarekit.checkpoints import Registry
    from flarekit.checkpoints.foreign.conversion import export_weights
    from flarekit.checkpoints.transfer import export_checkpoint

    if as_ is None:
        card = export_checkpoint(Registry.default(), model, output, overwrite=overwrite)
        result = {"exported": card.reference, "file": str(output)}
    else:
        result = export_weights(Registry.default(), model, as_, output, overwrite=overwrite)
    loads = f" It loads into {result['loads_into']}." if "loads_into" in result else ""
    console.emit(result, f"Exported {result['exported']} to {output}.{loads}", as_json=json)


@app.command(
    "import",
    epilog="Examples: `flarekit models import starter.zip`, `flarekit models import stcn.pth --as stcn-original`, "
    "`flarekit models import R50+ViT-B_16.npz --as vit-npz --name vit21k`",
)
def import_(
    file: Annotated[Path, typer.Argument(help="A zip written by `models export`, or with --as another's weights.")],
    as_: Annotated[
        str | None, typer.Option("--as", help=f"Whose weights these are: {INPUTS}; a checkpoint's zip without it.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the checkpoint; the file's without it. With --as.")
    ] = None,
    dataset: LabelsFile = None,
    windows: Annotated[
        str, typer.Option("--windows", help=f"Channels they were trained on: {', '.join(WINDOWS)}. With --as.")
    ] = PreprocessingConfig.windows.name,
    normalisation: Annotated[
        str | None,
        typer.Option(
            "--normalisation",
            help=f"What was done to channels in 0..1: {', '.join(NORMALISATIONS)}. Without it imagenet for "
            "stcn-original, none for the others. With --as.",
        ),
    ] = None,
    spacing_mm: Annotated[
        float | None,
        typer.Option("--spacing-mm", help="In-plane spacing of their slices; native pixels without it. With --as."),
    ] = None,
    canvas: Annotated[
        int | None,
        typer.Option("--canvas", help="Side of their slices, px; what the weights say, or 512, without it. With --as."),
    ] = None,
    json: Json = False,
) -> None:
    """Bring a checkpoint in from a zip, or weights that another project published.

    A zip's hash is verified. Other weights are marked as pretrained, which --challenge refuses; those of vit-npz
    are to train from (--init) and for nothing else.
    """
    from flarekit.checkpoints import Registry
    from flarekit.checkpoints.foreign.conversion import ImportOptions, import_weights
    from flarekit.checkpoints.transfer import import_checkpoint

    if as_ is None:
        card = import_checkpoint(Registry.default(), file)
    else:
        options = ImportOptions(
            labels=label_set(dataset),
            name=name,
            windows=windows,
            normalisation=normalisation,
            spacing_mm=spacing_mm,
            canvas=canvas,
        )
        card = import_weights(Registry.default(), file, as_, options)
    console.emit({"imported": card.reference, "kind": card.kind}, f"Imported {card.reference}.", as_json=json)


def _dice(metrics: dict) -> float | None:
    return metrics.get("dice")
