"""`flarekit propagate`: masks drawn on some slices, carried to all others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import (
    Challenge,
    Device,
    HuOffset,
    Json,
    LabelsFile,
    Overwrite,
    Series,
    label_set,
    resolve_device,
)
from flarekit.config.propagation import PRECISIONS, OutlineConfig, PropagationConfig
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from flarekit.labels import LabelSet

DEFAULTS = PropagationConfig()


def propagate(
    case: Annotated[Path, typer.Argument(help="The CT.")],
    masks: Annotated[Path, typer.Argument(help="A label map on the CT's grid, drawn on some slices.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The label map to write.")],
    slices: Annotated[
        str | None,
        typer.Option(
            "--slices",
            help="The annotated slices, 10,20,30 or first:stop:step, counted from 0 along the CT file's axial axis: "
            "an empty one says that nothing is there. Without it, the slices that hold a label.",
        ),
    ] = None,
    organs: Annotated[
        str | None, typer.Option("--organs", help="Carry these only: names or label ids, comma-separated.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Propagation checkpoint.")] = "starter-propagation",
    top_k: Annotated[
        int, typer.Option("--top-k", min=0, help="Memory tokens read for each place; 0 reads all.")
    ] = DEFAULTS.top_k or 0,
    before: Annotated[
        int | None, typer.Option("--before", min=0, help="Fill so many slices below an annotated one; all without.")
    ] = DEFAULTS.before,
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Fill so many slices above an annotated one; all without.")
    ] = DEFAULTS.after,
    memory_every: Annotated[
        int, typer.Option("--memory-every", min=0, help="Remember every Nth propagated slice too; 0 none.")
    ] = DEFAULTS.memory_every,
    memory_budget_mb: Annotated[
        int, typer.Option("--memory-budget-mb", min=1, help="Room for all that is remembered, annotated slices first.")
    ] = DEFAULTS.memory_budget_mb,
    partial: Annotated[
        bool, typer.Option("--partial", help="A slice shows some organs only: look on it for those it does not hold.")
    ] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="Find annotated slices anew too, which smooths what was drawn.")
    ] = DEFAULTS.refine,
    outlines: Annotated[
        bool, typer.Option(help="Let the outlines of near annotated slices count beside the network.")
    ] = DEFAULTS.outlines.use,
    dense: Annotated[
        bool, typer.Option("--dense", help="Look for all organs on the whole of every slice: slow, to compare with.")
    ] = DEFAULTS.dense,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help=f"What the network computes in: {', '.join(PRECISIONS)}; auto is fp16 on a CUDA GPU and fp32 "
            "elsewhere, where halves are slow.",
        ),
    ] = DEFAULTS.precision,
    challenge: Challenge = False,
    dataset: LabelsFile = None,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Carry masks from some slices to all others; without --refine, annotated slices come out exactly as they went in.

    Any structure can be carried: what was drawn is what is looked for. A JSON beside the label map gives the
    confidence for every organ and slice.
    """
    from flarekit.checkpoints import Registry
    from flarekit.propagation.case_files import CaseFiles, propagate_files
    from flarekit.propagation.slice_list import parse_slices
    from flarekit.volumes.hu import parse_offset

    config = PropagationConfig(
        top_k=top_k or None,
        before=before,
        after=after,
        memory_every=memory_every,
        memory_budget_mb=memory_budget_mb,
        refine=refine,
        outlines=OutlineConfig(use=outlines),
        dense=dense,
        precision=known_precision(precision),
    )
    labels = label_set(dataset)
    files = CaseFiles(image=case, drawn=masks, output=output, series=series, hu_offset=parse_offset(hu_offset))
    files.check(overwrite=overwrite)
    report = propagate_files(
        files,
        Registry.default().load(model, kind="propagation", challenge=challenge),
        config,
        slices=None if slices is None else parse_slices(slices),
        ids=chosen_ids(organs, labels),
        partial=partial,
        labels=labels,
        device=resolve_device(device),
        overwrite=overwrite,
    )
    console.emit(report, organ_table(report), f"Wrote {output}.", as_json=json)


def organ_table(report: Mapping) -> Table:
    """Volume of every organ, and the mean and lowest confidence over the filled slices."""
    rows = [
        (o["name"], f"{o['volume_ml']:.1f}", *((fmean(sure), min(sure)) if (sure := o["confidence"]) else ("-", "-")))
        for o in report["organs"]
    ]
    title = f"From {len(report['annotated'])} annotated slices to {len(report['filled'])} others"
    return console.table(title, ("organ", "mL", "mean confidence", "lowest"), rows)


def known_precision(name: str) -> str:
    """The precision of that name. Raises UsageError."""
    if name not in PRECISIONS:
        raise UsageError(f"--precision is one of {', '.join(PRECISIONS)}, got {name!r}")
    return name


def chosen_ids(organs: str | None, labels: LabelSet) -> set[int] | None:
    """The label ids that `--organs` names, None where it is not given. Raises UsageError."""
    if organs is None:
        return None
    wanted = [organ.strip() for organ in organs.split(",") if organ.strip()]
    if not wanted:
        raise UsageError(f"{organs!r} names no organ", remedy="Write liver,spleen or label ids such as 1,3.")
    return {int(o) if o.isdecimal() and len(o) < 10 else labels.ids[labels.class_of(o) - 1] for o in wanted}
