"""`flarekit bench segment`: what `flarekit segment` takes, as a challenge's organisers would measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flarekit.cli import console
from flarekit.cli.bench_segment_options import Cases, Output, Shape
from flarekit.cli.options import Backend, Challenge, Device, Json, Precision, device_for, known_precision
from flarekit.cli.segment_options import Model, NoPropagation, PropagationModel
from flarekit.config.propagation import PropagationConfig
from flarekit.config.reference import BACKENDS
from flarekit.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from flarekit.bench.efficiency import CaseCost
    from flarekit.bench.gpu_memory import Place

EPILOG = "Examples: `flarekit bench segment case.nii.gz -o efficiency`, `flarekit bench segment --shape 40x256x256`"
COLUMNS = {  # of a case's JSON and of the sum's, with their digits
    "run_s": ("run, s", 1),
    "loading_s": ("of it loading, s", 1),
    "gpu_mb_s": ("GPU area, MB s", 0),
    "gpu_above_mb_s": ("over 2048 MB", 0),
    "peak_gpu_mb": ("GPU peak, MB", 0),
    "cpu_percent_s": ("CPU area, % s", 0),
    "machine_percent_s": ("whole machine", 0),
    "peak_ram_mb": ("RAM peak, MB", 0),
}


def segment(
    cases: Cases = None,
    output: Output = None,
    shape: Shape = "100x512x512",
    model: Model = "starter-reference",
    propagation_model: PropagationModel = "starter-propagation",
    no_propagation: NoPropagation = False,
    precision: Precision = PropagationConfig.precision,
    challenge: Challenge = False,
    device: Device = "auto",
    backend: Backend = BACKENDS[0],
    json: Json = False,
) -> None:
    """Time `flarekit segment`, and sample its GPU memory, CPU and RAM every 0.1 s, a process for every case.

    As FLARE22's organisers count: run time from the start of the process to its end; area under GPU memory over time
    (of the whole card, and what of it lies above the 2048 MB that they tolerate); area under CPU utilisation over time,
    100 % being every core (of the process; and of the whole machine, which is what they take). Loading is what the run
    time holds beside the stages that work on the case: interpreter, libraries and weights above all, but also the hash
    of the CT and the exit. MB are 2^20 bytes.
    """
    from flarekit.bench.efficiency import summed
    from flarekit.bench.efficiency_files import MASKS, results_folder, write_results
    from flarekit.bench.gpu_memory import place_of
    from flarekit.bench.sampling import INTERVAL_S
    from flarekit.bench.segment import bench_segment, painted_case
    from flarekit.data.layouts import find_cases
    from flarekit.pipeline.models import ModelChoice
    from flarekit.propagation.precision import arithmetic

    target, size = device_for(backend, device), _size(shape)
    propagation = None if no_propagation else propagation_model
    models = ModelChoice.of(model, propagation, target, challenge=challenge, backend=backend)
    listed = find_cases(cases).cases if cases else None
    options = ["--model", model, "--precision", known_precision(precision), "--device", str(target)]
    options += ["--backend", backend, *(["--challenge"] if challenge else [])]
    options += ["--propagation-model", propagation] if propagation else ["--no-propagation"]
    place, dtype = place_of(target), str(arithmetic(precision, target)).removeprefix("torch.")
    with results_folder(output) as folder:
        costs = bench_segment(listed or (painted_case(folder, size),), folder / MASKS, options, place.card)
        checkpoints = {part: card.reference for part, card in models.cards.items()}
        result = {"machine": place.machine, "models": checkpoints, "backend": backend, "propagation_dtype": dtype}
        result |= {"interval_s": INTERVAL_S, "no_gpu_memory_because": place.no_card or None}
        result |= {"cases": [cost.to_json() for cost in costs], "summed": (total := summed(costs))}
        title = _title(place, dtype, checkpoints)
        if output is not None:
            write_results(folder, result, costs, title)
    written = [] if output is None else [f"Wrote efficiency.json, efficiency.png and masks/ to {output}."]
    console.emit(result, cost_table(title, costs, total), *_facts(costs, place), *written, as_json=json)
    _refuse_failures(costs, output)


def cost_table(title: str, costs: list[CaseCost], total: dict[str, Any]) -> Table:
    """A row for every case, the columns in which no case has a number left out, and their sum."""
    entries = [cost.to_json() for cost in costs]
    known = {key: column for key, column in COLUMNS.items() if any(entry[key] is not None for entry in entries)}
    rows = [_row(entry["name"], "x".join(map(str, entry["shape"] or ())), entry, known) for entry in entries]
    rows.append(_row("sum, largest peak", "", total, known))
    return console.table(title, ("case", "voxels", *(heading for heading, _ in known.values())), rows)


def _row(name: str, shape: str, entry: dict[str, Any], columns: dict[str, tuple[str, int]]) -> tuple[object, ...]:
    numbers = ((entry[key], digits) for key, (_, digits) in columns.items())
    return name, shape or None, *(None if value is None else f"{value:.{digits}f}" for value, digits in numbers)


def _facts(costs: list[CaseCost], place: Place) -> list[str]:
    facts = [f"{cost.name} failed: {cost.error}" for cost in costs if cost.error]
    if place.no_card:
        facts.append(f"GPU memory: not measured, {place.no_card}.")
    share = max(cost.sampling_share for cost in costs)
    return [*facts, f"Sampling took at most {share:.1%} of a core; it is part of the whole machine's CPU alone."]


def _title(place: Place, dtype: str, models: dict[str, str]) -> str:
    on = place.machine
    where = f"{on['device']}, {on['threads']} threads, torch {on['torch']}"
    return f"flarekit segment, {' and '.join(models.values())}, propagation in {dtype}\n{where}"


def _size(shape: str) -> tuple[int, int, int]:
    try:
        slices, rows, columns = (int(part) for part in shape.lower().split("x"))
    except ValueError:
        slices = rows = columns = 0
    if min(slices, rows, columns) < 8:
        raise UsageError(f"--shape is slices x rows x columns, each at least 8, got {shape!r}")
    return slices, rows, columns


def _refuse_failures(costs: list[CaseCost], output: Path | None) -> None:
    if failed := [cost.name for cost in costs if cost.error]:
        raise PartialFailure(
            f"{len(failed)} of {len(costs)} cases failed: {', '.join(failed[:5])}",
            where=output,
            remedy="They are not in the sum; see why above, and with `flarekit segment` on the case.",
        )
