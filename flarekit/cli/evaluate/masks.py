"""`flarekit evaluate masks`: label maps against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flarekit import files
from flarekit.cli import console
from flarekit.cli.options import Json, LabelsFile, Overwrite, label_set
from flarekit.errors import UsageError


def masks(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="A predicted label map, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="The true one, or a folder of them.")],
    dataset: LabelsFile = None,
    organs: Annotated[
        str | None, typer.Option("--organs", help="Score these alone, as liver,spleen: a truth may lack labels.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every case's scores to this file too.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Dice of every organ and case. An organ absent from both masks scores 1, from one of them 0.

    Organs that the dataset.json does not list under "labelled_organs" for a case are not scored in it.
    """
    from flarekit.data.layouts import LabelledOrgans
    from flarekit.evaluation.cases import pair_cases, score_pairs
    from flarekit.evaluation.tables import scores_to_csv, scores_to_json

    if csv is not None:
        files.refuse_existing(csv, overwrite=overwrite)
        files.require_writable(csv)
    labels = label_set(dataset)
    wanted = {labels.names[c - 1] for c in labels.parse(organs)}
    if not wanted:
        raise UsageError(f"{organs!r} names no organ", remedy=f"Known: {', '.join(labels.names)}.")
    labelled = LabelledOrgans.read(dataset, labels) if dataset is not None else None
    scores = [case.only(wanted) for case in score_pairs(pair_cases(predicted, truth), labels, labelled)]
    scores = [case for case in scores if case.dice]
    if not scores:
        raise UsageError("no case is labelled for these organs", remedy="Leave out --organs, or name others.")
    result = scores_to_json(scores)
    if csv is not None:
        files.write_text(csv, scores_to_csv(scores), overwrite=overwrite)
    means = console.table(
        f"Dice, {len(scores)} case(s)", ("organ", "Dice"), [*result["organs"].items(), ("mean", result["mean"])]
    )
    cases = console.table("Mean over organs", ("case", "Dice"), [(s.case, s.mean) for s in scores])
    console.emit(result, means, cases, as_json=json)
