"""`flarekit models`: the checkpoint registry from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, Overwrite

app = typer.Typer(no_args_is_help=True, help="List, show, remove, export and import checkpoints.")

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
    arch: Annotated[str | None, typer.Option("--arch", help="Show an architecture instead: paper, lite.")] = None,
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


@app.command(epilog="Example: `flarekit models export starter-reference -o starter.zip`")
def export(
    model: Reference,
    output: Annotated[Path, typer.Option("-o", "--output", help="The zip to write.")],
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a checkpoint to a zip that `models import` reads on another machine."""
    from flarekit.checkpoints import Registry
    from flarekit.checkpoints.transfer import export_checkpoint

    card = export_checkpoint(Registry.default(), model, output, overwrite=overwrite)
    result = {"exported": card.reference, "file": str(output)}
    console.emit(result, f"Exported {card.reference} to {output}.", as_json=json)


@app.command("import", epilog="Example: `flarekit models import starter.zip`")
def import_(
    file: Annotated[Path, typer.Argument(help="A zip written by `models export`.")], json: Json = False
) -> None:
    """Bring a checkpoint in from a zip; its hash is verified."""
    from flarekit.checkpoints import Registry
    from flarekit.checkpoints.transfer import import_checkpoint

    card = import_checkpoint(Registry.default(), file)
    console.emit({"imported": card.reference}, f"Imported {card.reference}.", as_json=json)


def _dice(metrics: dict) -> float | None:
    return metrics.get("dice")
