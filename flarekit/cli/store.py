"""`flarekit store`: what a slice store holds, and back to volume files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, Overwrite
from flarekit.errors import InputError, UsageError

if TYPE_CHECKING:
    from flarekit.data.case_file import StoredCase

app = typer.Typer(no_args_is_help=True, help="Look into slice stores, and export their cases.")

Store = Annotated[Path, typer.Argument(help="A store's folder.")]


@app.command(epilog="Example: `flarekit store info stores/flare22`")
def info(store: Store, json: Json = False) -> None:
    """List the cases of a store: size, spacing, and which organs are labelled."""
    from flarekit.data.store import SliceStore

    opened = SliceStore.open(store)
    facts = [_facts(opened.case(name)) for name in opened.cases]
    rows = [
        (f["name"], " x ".join(map(str, f["shape"])), " x ".join(f"{mm:.2f}" for mm in f["spacing_mm"]), f["labels"])
        for f in facts
    ]
    holds = "HU" if opened.config.baked is None else f"windows {opened.config.baked.name}"
    title = f"{store}: {len(facts)} cases, {holds}, compression {opened.config.compression}"
    table = console.table(title, ("case", "shape Z H W", "spacing, mm", "labels"), rows)
    console.emit(opened.config.to_json() | {"cases": facts}, table, as_json=json)


@app.command(epilog="Example: `flarekit store export stores/flare22 FLARE22_Tr_0001 -o ct.nii.gz --labels mask.nii.gz`")
def export(
    store: Store,
    case: Annotated[str, typer.Argument(help="The case's name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The CT to write, on its source's grid.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="Write its label map to this file too.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a stored case back to volume files; open voxels of partial labels become 255."""
    from flarekit.data.export import export_image, export_labels
    from flarekit.data.store import SliceStore

    stored = SliceStore.open(store).case(case)
    _check(stored, output, labels, overwrite=overwrite)
    export_image(stored, output, overwrite=overwrite)
    if labels is not None:
        export_labels(stored, labels, overwrite=overwrite)
    written = [str(path) for path in (output, labels) if path is not None]
    console.emit({"case": case, "written": written}, f"Wrote {' and '.join(written)}.", as_json=json)


def _check(case: StoredCase, output: Path, labels: Path | None, *, overwrite: bool) -> None:
    """Raises where the CT could be written but its label map not."""
    from flarekit.files import refuse_existing
    from flarekit.volumes.writing import require_writable_format

    if labels is None:
        return
    if labels.absolute() == output.absolute():
        raise UsageError("--output and --labels name the same file", remedy="Give the label map a name of its own.")
    if not case.labelled:
        raise InputError("has no labels", where=case.path, remedy="Leave out --labels.")
    require_writable_format(labels)
    refuse_existing(labels, overwrite=overwrite)


def _facts(case: StoredCase) -> dict[str, Any]:
    organs = case.header.label_set.names
    labelled = [organs[c - 1] for c in case.header.labelled]
    return {
        "name": case.name,
        "source": case.header.source_name,
        "shape": list(case.shape),
        "spacing_mm": list(case.spacing_mm),
        "labels": "none" if not labelled else "all" if len(labelled) == len(organs) else ", ".join(labelled),
        "labelled_organs": labelled,
    }
