"""`flarekit evaluate invariance`: one CT in many disguises, segmented each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Device, Json, Overwrite, resolve_device
from flarekit.cli.segment_options import Model, NoPropagation, PropagationModel

if TYPE_CHECKING:
    import numpy as np

    from flarekit.evaluation.disguises import Disguise
    from flarekit.evaluation.invariance import Segmenter
    from flarekit.pipeline.models import ModelChoice
    from flarekit.volumes import Volume


def invariance(
    case: Annotated[Path, typer.Argument(help="A CT; no labels are needed.")],
    kinds: Annotated[
        str,
        typer.Option("--kinds", help="Disguises, comma-separated: orientation, spacing, values, field-of-view, size."),
    ] = "orientation,spacing,values,field-of-view,size",
    model: Model = "starter-reference",
    propagation_model: PropagationModel = "starter-propagation",
    no_propagation: NoPropagation = False,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table as Markdown.")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Whether a CT gives the same mask however it is stored: Dice of its disguises' masks against its own.

    All 48 orientations, pixels of 0.6 to 3 mm, slices 1 to 8 mm apart, integers, floats and unsigned numbers, cropped
    fields of view, slices of 768 x 768. Compared at the CT's own voxels, where the disguise shows them. `ceiling` is
    what the CT's own mask has when it is brought to the disguise's grid and back.
    """
    from flarekit import files
    from flarekit.evaluation.invariance import compare_disguises, parse_kinds
    from flarekit.evaluation.invariance_tables import COLUMNS, invariance_json, invariance_markdown, invariance_rows
    from flarekit.pipeline.models import ModelChoice
    from flarekit.volumes import read_volume

    wanted = parse_kinds(kinds)
    if markdown is not None:
        files.refuse_existing(markdown, overwrite=overwrite)
        files.require_writable(markdown)
    choice = ModelChoice.of(model, None if no_propagation else propagation_model, resolve_device(device))
    ct = read_volume(case)
    scores = list(compare_disguises(ct, _segmenter(choice), choice.labels, wanted, progress=_progress))
    if markdown is not None:
        files.write_text(markdown, invariance_markdown(scores), overwrite=overwrite)
    cards = {part: card.reference for part, card in choice.cards.items()}
    report = invariance_json(scores, case=case.name, shape=ct.array.shape, spacing_mm=ct.spacing_mm, models=cards)
    table = console.table(f"{case.name} in disguise", COLUMNS, invariance_rows(scores))
    console.emit(report, table, as_json=json)


def _segmenter(choice: ModelChoice) -> Segmenter:
    from flarekit.config.segment import SegmentConfig
    from flarekit.pipeline import segment
    from flarekit.pipeline.reading import admitted

    models, config = choice.load(), SegmentConfig()

    def classes(ct: Volume) -> np.ndarray:
        admitted(ct)
        return segment(ct, models.reference, models.propagation, config).classes

    return classes


def _progress(disguises: Iterator[Disguise]) -> Iterator[Disguise]:
    from tqdm import tqdm

    return iter(tqdm(disguises, desc="disguises", unit="file", disable=None, leave=False))
