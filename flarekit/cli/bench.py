"""`flarekit bench`: how fast, and in how much memory, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import console
from flarekit.cli.options import Json

if TYPE_CHECKING:
    from flarekit.bench.preprocess import PreprocessCost

app = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine, beside a floor or a rival.")

CT = Annotated[Path, typer.Argument(help="A CT to measure with: any volume or folder of DICOM that flarekit reads.")]


@app.command(epilog="Example: `flarekit bench preprocess ct.nii.gz`")
def preprocess(
    ct: CT,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Times to run each stage; the middle one counts.")] = 3,
    json: Json = False,
) -> None:
    """Time every stage of storing a CT beside decompressing its file alone, and measure the memory it takes."""
    from dataclasses import asdict

    from flarekit.bench.machine import machine
    from flarekit.bench.preprocess import bench_preprocess

    cost, on = bench_preprocess(ct, runs=runs), machine()
    stages = {"floor: decompress alone": cost.floor_s} | cost.stages_s | {"all, from file to store": cost.total_s}
    rows = [(name, f"{stage_s * 1000:.0f}", f"{stage_s / cost.floor_s:.2f}") for name, stage_s in stages.items()]
    table = console.table(_title(f"{_size(cost.shape)} int16", on), ("stage", "ms", "x floor"), rows)
    result = {"machine": on, "dtype": "int16", "runs": runs} | asdict(cost)
    console.emit(result, table, *_facts(cost), as_json=json)


@app.command(epilog="Example: `flarekit bench store ct.nii.gz --slices 200`")
def store(
    ct: CT,
    slices: Annotated[int, typer.Option("--slices", min=1, help="Repeat the CT's slices to so many.")] = 200,
    reads: Annotated[int, typer.Option("--reads", min=16, help="Random slices to read in each way.")] = 800,
    json: Json = False,
) -> None:
    """Compare compressions and chunk sizes for a slice store: time to write, size, random slices a second."""
    from dataclasses import asdict

    from tqdm import tqdm

    from flarekit.bench.machine import machine
    from flarekit.bench.store import bench_store

    on = machine()
    measured = tqdm(bench_store(ct, slices=slices, reads=reads), unit="layout", disable=None, leave=False)
    costs = list(measured)
    columns = ("layout", "write, s", "size / raw", "read /s", "windowed /s", "loader 0 /s", "loader 2 /s")
    rows = [(c.layout, f"{c.write_s:.2f}", c.size, *(f"{n:.0f}" for n in c.rates_per_s)) for c in costs]
    table = console.table(_title(f"{slices} slices int16", on), columns, rows)
    result = {"machine": on, "dtype": "int16", "slices": slices, "layouts": [asdict(cost) for cost in costs]}
    console.emit(result, table, as_json=json)


def _title(what: str, on: dict[str, Any]) -> str:
    return f"{what}; {on['device']}, {on['threads']} threads, torch {on['torch']}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _facts(cost: PreprocessCost) -> list[str]:
    facts = [
        f"Stored in {cost.stored_bytes / 1e6:.1f} MB, {cost.stored_bytes / cost.volume_bytes:.2f} of the int16 volume.",
        f"Random windowed slices read back: {cost.windowed_per_s:.0f} a second.",
    ]
    if cost.peak_bytes is not None:
        times = cost.peak_bytes / cost.volume_bytes
        facts.append(f"Peak memory: {cost.peak_bytes / 1e6:.0f} MB, {times:.2f} times the int16 volume.")
    return facts
