"""`flarekit propagate`: masks drawn on some slices, carried to all others."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from flarekit.cli import console
from flarekit.cli.options import (
    Challenge,
    Device,
    HuOffset,
    Json,
    LabelsFile,
    Overwrite,
    Precision,
    Series,
    chosen_ids,
    known_precision,
    label_set,
    resolve_device,
)
from flarekit.cli.propagate_options import (
    After,
    Before,
    Case,
    Dense,
    Intensities,
    Masks,
    MemoryBudgetMb,
    MemoryEvery,
    Model,
    Organs,
    Outlines,
    Output,
    Partial,
    Refine,
    Slices,
    TopK,
)
from flarekit.config.propagation import IntensityConfig, OutlineConfig, PropagationConfig

if TYPE_CHECKING:
    from rich.table import Table


DEFAULTS = PropagationConfig()


def propagate(
    case: Case,
    masks: Masks,
    output: Output,
    slices: Slices = None,
    organs: Organs = None,
    model: Model = "starter-propagation",
    top_k: TopK = DEFAULTS.top_k or 0,
    before: Before = DEFAULTS.before,
    after: After = DEFAULTS.after,
    memory_every: MemoryEvery = DEFAULTS.memory_every,
    memory_budget_mb: MemoryBudgetMb = DEFAULTS.memory_budget_mb,
    partial: Partial = False,
    refine: Refine = DEFAULTS.refine,
    outlines: Outlines = DEFAULTS.outlines.use,
    intensities: Intensities = DEFAULTS.intensities.use,
    dense: Dense = DEFAULTS.dense,
    precision: Precision = DEFAULTS.precision,
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
        top_k=top_k or None, before=before, after=after, memory_every=memory_every, memory_budget_mb=memory_budget_mb,
        refine=refine, outlines=OutlineConfig(use=outlines), intensities=IntensityConfig(use=intensities), dense=dense,
        precision=known_precision(precision),
    )  # fmt: skip
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
