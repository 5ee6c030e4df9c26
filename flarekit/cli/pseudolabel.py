"""`flarekit pseudolabel`: masks for unlabelled CTs where several models, or other people's masks, agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flarekit.cli import console
from flarekit.cli.options import (
    Backend,
    Challenge,
    Device,
    HuOffset,
    Json,
    LabelsFile,
    Scheduler,
    Series,
    Workers,
    device_for,
)
from flarekit.cli.pseudolabel_options import (
    Certainty,
    Combine,
    Inputs,
    Layout,
    Models,
    Output,
    Overwrite,
    PerOrgan,
    Predictions,
    Previous,
    PropagationModel,
    RoundNumber,
    Score,
    Threshold,
    Uncertainty,
    WriteRejected,
)
from flarekit.config.consensus import ConsensusConfig
from flarekit.config.reference import BACKENDS
from flarekit.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from flarekit.consensus import CaseOutcome, MemberSource, Round

DEFAULT = ConsensusConfig()
EPILOG = """Examples:

`flarekit pseudolabel FLARE22Unlabelled --models mine-1,mine-2,mine-3 --threshold 0.9 -o pseudo`

`flarekit pseudolabel FLARE22Unlabelled --models mine-1 --predictions nnunet=masks --per-organ --layout nnunet -o mixed`
"""


def pseudolabel(
    inputs: Inputs,
    output: Output,
    models: Models = "",
    predictions: Predictions = None,
    propagation_model: PropagationModel = None,
    threshold: Threshold = DEFAULT.threshold,
    per_organ: PerOrgan = DEFAULT.per_organ,
    certainty: Certainty = DEFAULT.certainty,
    score: Score = DEFAULT.score,
    combine: Combine = DEFAULT.combine,
    previous: Previous = None,
    uncertainty: Uncertainty = DEFAULT.uncertainty,
    write_rejected: WriteRejected = DEFAULT.write_rejected,
    layout: Layout = DEFAULT.layout,
    round_number: RoundNumber = 1,
    dataset: LabelsFile = None,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    challenge: Challenge = False,
    device: Device = "auto",
    backend: Backend = BACKENDS[0],
    workers: Workers = 0,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Label CTs with several models, keep the labels they agree on, and record every decision in a ledger.

    A run that was stopped goes on where it was: cases in the ledger are skipped, failed ones are tried again.
    """
    from flarekit.consensus import run_round
    from flarekit.data.layouts import find_cases
    from flarekit.files import require_writable
    from flarekit.volumes.hu import parse_offset

    config = _config(
        threshold=threshold,
        combine=combine,
        score=score,
        per_organ=per_organ,
        certainty=certainty,
        uncertainty=uncertainty,
        write_rejected=write_rejected,
        layout=layout,
    )
    target = str(device_for(backend, device))
    members = _members(models, predictions or [], propagation_model, target, backend, challenge)
    plan = _round(members, dataset, config, output, round_number, previous, backend)
    cases = find_cases(inputs, series=series, hu_offset=parse_offset(hu_offset)).cases
    require_writable(plan.outputs.ledger)
    outcomes = run_round(cases, plan, workers=workers, scheduler=scheduler, overwrite=overwrite)
    _report(output, outcomes, as_json=json)


def _config(**choices: object) -> ConsensusConfig:
    try:
        return ConsensusConfig(**choices)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error), remedy="`flarekit pseudolabel --help` says what there is.") from error


def _members(
    models: str, predictions: list[str], propagation: str | None, device: str, backend: str, challenge: bool
) -> list[MemberSource]:
    from flarekit.consensus import CheckpointSource, MaskSource
    from flarekit.pipeline.member import ChainSource

    sources: list[MemberSource] = [MaskSource.of(text) for text in predictions]
    for name in (name.strip() for name in models.split(",") if name.strip()):
        if propagation is None:
            sources.append(CheckpointSource.of(name, device=device, backend=backend, challenge=challenge))
        else:
            sources.append(ChainSource.of(name, propagation, device=device, backend=backend, challenge=challenge))
    return sources


def _round(
    members: list[MemberSource],
    dataset: Path | None,
    config: ConsensusConfig,
    output: Path,
    number: int,
    previous: Path | None,
    backend: str,
) -> Round:
    from flarekit.consensus import MaskSource, Round, common_labels, order
    from flarekit.labels import FLARE22, read_dataset_json

    if config.score == "instability" and previous is None:
        raise UsageError("--score instability compares with --previous", remedy="Name the round before's output.")
    sources = order(members)
    return Round(
        sources=sources,
        labels=common_labels(sources, read_dataset_json(dataset) if dataset else None, FLARE22),
        config=config,
        output=output,
        number=number,
        previous=MaskSource.of_round(previous) if previous else None,
        backend=backend,
    )


def _report(output: Path, outcomes: list[CaseOutcome], *, as_json: bool) -> None:
    from collections import Counter
    from dataclasses import asdict

    counts = Counter(outcome.status for outcome in outcomes)
    rows = [(outcome.case, outcome.score, outcome.status, outcome.reason) for outcome in outcomes]
    table = console.table("Pseudo-labels", ("case", "score", "status", "why"), rows)
    summary = f"{len(outcomes)} cases: {', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}."
    result = {"output": str(output), "counts": dict(counts), "cases": [asdict(o) for o in outcomes]}
    console.emit(result, table, summary, as_json=as_json)
    if failed := [outcome.case for outcome in outcomes if outcome.status == "failed"]:
        raise PartialFailure(
            f"{len(failed)} of {len(outcomes)} cases failed: {', '.join(failed[:5])}",
            where=output,
            remedy="Mend or leave out what the list names and run again; the others are done.",
        )
