"""`flarekit store`: what a slice store holds, whether it is whole, and back to volume files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json, Overwrite, Workers
from flarekit.errors import InputError, UsageError

if TYPE_CHECKING:
    from flarekit.data.case_file import StoredCase

app = typer.Typer(
    no_args_is_help=True, help="Look into slice stores, export their cases, and lay pseudo-labels over them."
)

Store = Annotated[Path, typer.Argument(help="A store's folder.")]


@app.command(epilog="Example: `flarekit store info stores/labelled`")
def info(store: Store, json: Json = False) -> None:
    """List the cases of a store: size, spacing, and which organs are labelled."""
    from flarekit.data.store import SliceStore

    opened = SliceStore.open(store)
    facts = [_facts(opened.case(name)) for name in opened.cases]
    rows = [
        (f["name"], " x ".join(map(str, f["shape"])), " x ".join(f"{mm:.2f}" for mm in f["spacing_mm"]), f["labels"])
        for f in facts
    ]
    title = f"{store}: {len(facts)} cases, {opened.config.content}, compression {opened.config.compression}"
    table = console.table(title, ("case", "shape Z H W", "spacing, mm", "labels"), rows)
    console.emit(opened.config.to_json() | {"cases": facts}, table, as_json=json)


@app.command(epilog="Example: `flarekit store verify stores/labelled --workers 2`")
def verify(store: Store, workers: Workers = 0, json: Json = False) -> None:
    """Compare every case with the checksum it was stored with, and its header with the store."""
    from collections import Counter
    from dataclasses import asdict

    from tqdm import tqdm

    from flarekit.data.store import SliceStore
    from flarekit.data.verify import verify as verify_cases

    opened = SliceStore.open(store)
    shown = tqdm(verify_cases(opened, workers=workers), total=len(opened.cases), unit="case", disable=None, leave=False)
    checks = sorted(shown, key=lambda check: check.name)
    counts = Counter(check.status for check in checks)
    rows = [(check.name, f"{check.size_bytes / 1e6:.1f}", check.status, check.problem) for check in checks]
    table = console.table(f"Store {store}", ("case", "MB", "status", "problem"), rows)
    summary = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    result = {"store": str(store), "counts": dict(counts), "cases": [asdict(check) for check in checks]}
    console.emit(result, table, f"{len(checks)} cases: {summary or 'none'}.", as_json=json)
    _require_whole(store, [check.name for check in checks if check.problem])


def _require_whole(store: Path, damaged: list[str]) -> None:
    if damaged:
        raise InputError(
            f"{len(damaged)} damaged cases: {', '.join(damaged[:5])}",
            where=store,
            remedy="Delete their files and run flarekit preprocess again: it stores what is missing.",
        )


@app.command(
    epilog="Example: `flarekit store export stores/labelled FLARE22_Tr_0001 -o ct.nii.gz --labels mask.nii.gz`"
)
def export(
    store: Store,
    case: Annotated[str, typer.Argument(help="The case's name.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The CT to write, on its source's grid.")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="The label map to write, on the same grid.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a stored case back to volume files; open voxels of partial labels become 255."""
    from flarekit.data.export import export_image, export_labels
    from flarekit.data.store import SliceStore

    opened = SliceStore.open(store)
    stored = opened.case(case)
    if output is not None and opened.config.tissues is not None:
        raise InputError(
            "holds tissues, which have HU only while training reads them",
            where=store,
            remedy="Leave out -o: --labels writes the label map.",
        )
    _check(stored, output, labels, overwrite=overwrite)
    if output is not None:
        export_image(stored, output, overwrite=overwrite)
    if labels is not None:
        export_labels(stored, labels, overwrite=overwrite)
    written = [str(path) for path in (output, labels) if path is not None]
    console.emit({"case": case, "written": written}, f"Wrote {' and '.join(written)}.", as_json=json)


@app.command(epilog="Example: `flarekit store overlay stores/unlabelled pseudo/round-1`")
def overlay(
    store: Store,
    pseudo_labels: Annotated[Path, typer.Argument(help="A folder that flarekit pseudolabel wrote, of the same CTs.")],
    json: Json = False,
) -> None:
    """Bring kept pseudo-labels into the form that training reads; `train --pseudo-labels` does it by itself.

    For a machine where label maps cannot be read: copy the folder's ledger.jsonl and overlay/ there.
    """
    from flarekit.data.store import SliceStore
    from flarekit.training.pseudo_labels import OVERLAYS, prepare

    count = prepare(pseudo_labels, SliceStore.open(store))
    result = {"overlay": str(pseudo_labels / OVERLAYS), "cases": count}
    console.emit(result, f"{count} cases of {store} have pseudo-labels in {pseudo_labels / OVERLAYS}.", as_json=json)


def _check(case: StoredCase, output: Path | None, labels: Path | None, *, overwrite: bool) -> None:
    """Raises where nothing is asked for, or the CT could be written but its label map not."""
    from flarekit.files import refuse_existing
    from flarekit.volumes.writing import require_writable_format

    if labels is None and output is None:
        raise UsageError("nothing to write", remedy="Give --output for the CT, --labels for its label map, or both.")
    if labels is None:
        return
    if output is not None and labels.absolute() == output.absolute():
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
        "hu_offset": case.header.hu_offset,
        "shape": list(case.shape),
        "spacing_mm": list(case.spacing_mm),
        "labels": "none" if not labelled else "all" if len(labelled) == len(organs) else ", ".join(labelled),
        "labelled_organs": labelled,
    }
