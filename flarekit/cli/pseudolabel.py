"""`flarekit pseudolabel`: masks for unlabelled CTs where several models agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flarekit.cli import console
from flarekit.cli.options import Backend, Challenge, Device, HuOffset, Json, device_for
from flarekit.config.reference import BACKENDS
from flarekit.errors import PartialFailure

if TYPE_CHECKING:
    from flarekit.consensus import CaseOutcome


def pseudolabel(
    inputs: Annotated[list[Path], typer.Argument(help="CTs, or folders of them.")],
    models: Annotated[str, typer.Option("--models", help="Two or more reference checkpoints with commas between.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for labels/ and ledger.jsonl.")],
    threshold: Annotated[
        float, typer.Option("--threshold", help="Mean Dice against the consensus that keeps a case, 0..1.")
    ] = 0.9,
    round_number: Annotated[
        int, typer.Option("--round", min=1, help="Round of training and labelling, for the ledger.")
    ] = 1,
    hu_offset: HuOffset = "auto",
    challenge: Challenge = False,
    device: Device = "auto",
    backend: Backend = BACKENDS[0],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew, over the ledger and labels that are there.")
    ] = False,
    json: Json = False,
) -> None:
    """Label CTs with several models, keep the labels they agree on, and record every decision in a ledger.

    A run that was stopped goes on where it was: cases in the ledger are skipped.
    """
    from flarekit.checkpoints import Registry
    from flarekit.consensus import round_settings, run_round
    from flarekit.consensus.pseudolabel import LEDGER, start_ledger
    from flarekit.data.layouts import find_cases
    from flarekit.files import require_writable
    from flarekit.reference import ReferenceModule
    from flarekit.volumes.hu import parse_offset

    names, registry = [name.strip() for name in models.split(",") if name.strip()], Registry.default()
    settings = round_settings([registry.card(name) for name in names], threshold=threshold, number=round_number)
    cases = find_cases(inputs, hu_offset=parse_offset(hu_offset)).cases
    require_writable(output / LEDGER)
    target = device_for(backend, device)
    loaded = [registry.load(name, kind="reference", challenge=challenge) for name in names]
    modules = [ReferenceModule(each, device=target, backend=backend) for each in loaded]
    if overwrite:
        start_ledger(output, overwrite=True)
    _report(output, run_round(cases, modules, output, settings), as_json=json)


def _report(output: Path, outcomes: list[CaseOutcome], *, as_json: bool) -> None:
    from dataclasses import asdict

    rows = [(outcome.case, outcome.score, outcome.status, outcome.reason) for outcome in outcomes]
    table = console.table("Pseudo-labels", ("case", "mean Dice", "status", "why"), rows)
    console.emit({"output": str(output), "cases": [asdict(o) for o in outcomes]}, table, as_json=as_json)
    if failed := [outcome.case for outcome in outcomes if outcome.status == "failed"]:
        raise PartialFailure(
            f"{len(failed)} of {len(outcomes)} cases failed: {', '.join(failed[:5])}",
            where=output,
            remedy="Mend or leave out what the list names and run again; the others are done.",
        )
