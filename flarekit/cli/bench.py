"""`flarekit bench`: how fast, and in how much memory, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flarekit.cli import bench_segment, console
from flarekit.cli.options import Device, Json, resolve_device
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.propagation import PRECISIONS as PROPAGATION_PRECISIONS
from flarekit.config.propagation import PropagationConfig
from flarekit.config.training import PRECISIONS
from flarekit.errors import UsageError

if TYPE_CHECKING:
    from flarekit.bench.backends import BackendCost
    from flarekit.bench.preprocess import PreprocessCost
    from flarekit.bench.propagate import PropagationCost

app = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine, beside a floor or a rival.")

app.command(epilog=bench_segment.EPILOG)(bench_segment.segment)

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


@app.command(epilog="Example: `flarekit bench read ct.nii.gz`")
def read(
    ct: Annotated[Path, typer.Argument(help="A .nii or .nii.gz file to measure with.")],
    runs: Annotated[int, typer.Option("--runs", min=1, help="Times to read in each way; the middle one counts.")] = 5,
    json: Json = False,
) -> None:
    """Time reading a NIfTI file, and measure the memory it takes, beside SimpleITK and nibabel."""
    from dataclasses import asdict

    from flarekit.bench.machine import machine
    from flarekit.bench.read import bench_read

    costs, on = bench_read(ct, runs=runs), machine()
    peaks = ("-" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e6:.0f}" for cost in costs)
    rows = [(cost.reader, f"{cost.read_s:.2f}", peak) for cost, peak in zip(costs, peaks, strict=True)]
    table = console.table(_title(ct.name, on), ("reader", "s", "peak memory, MB"), rows)
    console.emit({"machine": on, "runs": runs, "readers": [asdict(cost) for cost in costs]}, table, as_json=json)


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


@app.command(epilog="Example: `flarekit bench affinity --quick`")
def affinity(
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", help="Type of keys and values: float32, float16 or bfloat16. Without it float32, on a GPU all."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The smallest size alone.")] = False,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Measure the compiled formula too; without it on a GPU only."),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Time reading the memory, and measure its extra memory and error, beside the published formula and attention."""
    from tqdm import tqdm

    from flarekit.bench.affinity import DTYPES, bench_affinity, costs_to_json, grid
    from flarekit.bench.machine import machine

    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"--dtype is one of {', '.join(DTYPES)}, got {dtype!r}")
    chosen = resolve_device(device)
    on_gpu = chosen.type == "cuda"
    dtypes = (dtype,) if dtype else DTYPES if on_gpu else DTYPES[:1]
    cases = grid(frames=(5,), objects=(1,), dtypes=dtypes) if quick else grid(dtypes=dtypes)
    reads = bench_affinity(cases, device=chosen, compiled=on_gpu if compiled is None else compiled)
    result = costs_to_json(list(tqdm(reads, unit="read", disable=None, leave=False)))
    columns = ("dtype", "frames", "objects", "tokens", "method", "ms", "x formula", "extra, MB", "error")
    on = machine(chosen)
    sizes = "1024 queries, frames of 1024 tokens, 64 channels, 512 values"
    table = console.table(_title(sizes, on), columns, [_read_row(read) for read in result["reads"]])
    console.emit({"machine": on, "dtypes": dtypes} | result, table, as_json=json)


@app.command(epilog="Example: `flarekit bench train --arch lite --iterations 5`")
def train(
    arch: Annotated[str, typer.Option("--arch", help=f"Sizes of the networks: {', '.join(ARCHITECTURES)}.")] = "paper",
    iterations: Annotated[
        int, typer.Option("--iterations", min=1, help="Iterations to time; the middle one counts.")
    ] = 5,
    precision: Annotated[
        str, typer.Option("--precision", help=f"Arithmetic of `train cps`: {', '.join(PRECISIONS)}.")
    ] = "fp32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Time iterations of `train cps`, data and all, in turns with a plain eager float32 loop over the same networks."""
    from dataclasses import asdict

    from flarekit.bench.machine import machine
    from flarekit.bench.train import bench_train

    if arch not in ARCHITECTURES or precision not in PRECISIONS:
        raise UsageError(f"--arch is one of {', '.join(ARCHITECTURES)}, --precision of {', '.join(PRECISIONS)}")
    chosen = resolve_device(device)
    cost, on = bench_train(arch, device=chosen, precision=precision, iterations=iterations), machine(chosen)
    rows = [
        (f"train cps, {precision}", f"{cost.iteration_s:.3f}", f"{cost.waited_share:.1%}", f"{cost.ratio:.2f}"),
        ("plain loop, fp32", f"{cost.plain_s:.3f}", "-", "1.00"),
    ]
    columns = ("loop", "s an iteration", "waited for data", "x plain")
    table = console.table(_title(f"{arch}, {_size(cost.input_shape)}", on), columns, rows)
    result = {"machine": on, "arch": arch, "precision": precision, "iterations": iterations, "ratio": cost.ratio}
    console.emit(result | asdict(cost), table, as_json=json)


@app.command(epilog="Example: `flarekit bench backends --arch lite --pixels 256`")
def backends(
    arch: Annotated[str, typer.Option("--arch", help=f"Sizes of the networks: {', '.join(ARCHITECTURES)}.")] = "paper",
    pixels: Annotated[int | None, typer.Option("--pixels", min=64, help="Side of a slice, a multiple of 32.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Slices at a time; `segment` takes 4.")] = 4,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs of every backend; the middle one counts.")] = 5,
    json: Json = False,
) -> None:
    """Time the reference module's networks on the CPU: torch, torch in channels_last, and ONNX Runtime, in turns."""
    from dataclasses import asdict

    from tqdm import tqdm

    from flarekit.bench.backends import NETWORKS, bench_backends
    from flarekit.bench.machine import machine

    side = pixels or (256 if arch == "lite" else 512)
    if arch not in ARCHITECTURES or side % 32:
        raise UsageError(f"--arch is one of {', '.join(ARCHITECTURES)}, --pixels a multiple of 32")
    measured = bench_backends(arch, (side, side), batch=batch, runs=runs)
    costs, on = list(tqdm(measured, total=len(NETWORKS), unit="network", disable=None, leave=False)), machine()
    columns = ("ms a slice", "torch", "channels_last", "onnx", "x torch", "export, s", "error")
    title = _title(f"{arch}, {_size((batch, 3, side, side))} float32", on)
    table = console.table(title, columns, [_backend_row(cost) for cost in costs])
    result = {"machine": on, "dtype": "float32", "arch": arch, "shape": (batch, 3, side, side), "runs": runs}
    networks = [asdict(cost) | {"times_faster_than_torch": cost.ratio} for cost in costs]
    console.emit(result | {"networks": networks}, table, as_json=json)


@app.command(epilog="Example: `flarekit bench propagate --arch paper --organs 13 --slices 100 --filled 9`")
def propagate(
    arch: Annotated[str, typer.Option("--arch", help=f"Size of the network: {', '.join(ARCHITECTURES)}.")] = "paper",
    organs: Annotated[
        int, typer.Option("--organs", min=1, max=13, help="Organs to carry, the first of FLARE22's.")
    ] = 13,
    slices: Annotated[int, typer.Option("--slices", min=10, help="Slices of the volume.")] = 129,
    every: Annotated[int, typer.Option("--every", min=2, help="Every Nth slice is annotated.")] = 10,
    filled: Annotated[int, typer.Option("--filled", min=1, help="Slices above each annotated one to time.")] = 1,
    pixels: Annotated[int | None, typer.Option("--pixels", min=64, help="Side of the network's input.")] = None,
    dense: Annotated[bool, typer.Option(help="Time two annotated slices without confining anything, too.")] = True,
    precision: Annotated[
        str, typer.Option("--precision", help=f"What the propagation computes in: {', '.join(PROPAGATION_PRECISIONS)}.")
    ] = PropagationConfig.precision,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Time propagation stage by stage, true masks injected, beside decoding every organ on the whole slice."""
    from dataclasses import asdict

    from flarekit.bench.machine import machine
    from flarekit.bench.propagate import Patient, bench_dense, bench_propagation
    from flarekit.propagation.precision import arithmetic

    if arch not in ARCHITECTURES or precision not in PROPAGATION_PRECISIONS:
        known = f"--arch is one of {', '.join(ARCHITECTURES)}, --precision of {', '.join(PROPAGATION_PRECISIONS)}"
        raise UsageError(known)
    chosen, side = resolve_device(device), pixels or (256 if arch == "lite" else 512)
    patient = Patient.drawn((slices, 512, 512), every=every, objects=organs)
    config = PropagationConfig(before=0, after=filled, precision=precision)
    runs = {"confined": bench_propagation} | ({"dense": bench_dense} if dense else {})
    costs = {name: run(patient, arch, config, device=chosen, size=(side, side)) for name, run in runs.items()}
    on, shape = machine(chosen), (slices, side, side)
    dtype = str(arithmetic(precision, chosen)).removeprefix("torch.")
    title = _title(f"{arch}, {_size(shape)} {dtype}, {organs} organs, {len(patient.annotated)} annotated slices", on)
    table = console.table(title, ("s a slice", *costs), _stage_rows(costs))
    result = {"machine": on, "dtype": dtype, "arch": arch, "shape": shape, "organs": organs}
    seconds = {name: asdict(c) | {"total_s": c.total_s, "volume_s": c.volume_s(slices)} for name, c in costs.items()}
    console.emit(result | {"costs": seconds}, table, *_volume_facts(costs, slices), as_json=json)


def _volume_facts(costs: dict[str, PropagationCost], slices: int) -> list[str]:
    facts = [f"A volume of {slices} slices, {name}: {cost.volume_s(slices):.1f} s." for name, cost in costs.items()]
    peaks = [cost.peak_bytes for cost in costs.values() if cost.peak_bytes is not None]
    return [*facts, f"GPU memory held at most, {next(iter(costs))}: {peaks[0] / 1e6:.0f} MB."] if peaks else facts


def _stage_rows(costs: dict[str, PropagationCost]) -> list[tuple[str, ...]]:
    stages = next(iter(costs.values())).stages_s
    rows = [(stage, *(f"{cost.stages_s[stage]:.3f}" for cost in costs.values())) for stage in stages]
    return [*rows, ("all", *(f"{cost.total_s:.3f}" for cost in costs.values()))]


def _title(what: str, on: dict[str, Any]) -> str:
    return f"{what}; {on['device']}, {on['threads']} threads, torch {on['torch']}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _read_row(read: dict[str, Any]) -> tuple[str, ...]:
    extra = "-" if read["extra_bytes"] is None else f"{read['extra_bytes'] / 1e6:.0f}"
    which = "all" if read["top_k"] is None else f"nearest {read['top_k']}"
    ratio = f"{read['times_faster_than_formula']:.1f}"
    size = read["dtype"], str(read["frames"]), str(read["objects"])
    return *size, which, read["method"], f"{read['time_s'] * 1000:.1f}", ratio, extra, f"{read['error']:.1e}"


def _backend_row(cost: BackendCost) -> tuple[str, ...]:
    times = (f"{each_s * 1000:.0f}" for each_s in (cost.torch_s, cost.channels_last_s, cost.onnx_s))
    return cost.network, *times, f"{cost.ratio:.2f}", f"{cost.export_s:.1f}", f"{cost.error:.0e}"


def _facts(cost: PreprocessCost) -> list[str]:
    facts = [
        f"Stored in {cost.stored_bytes / 1e6:.1f} MB, {cost.stored_bytes / cost.volume_bytes:.2f} of the int16 volume.",
        f"Random windowed slices read back: {cost.windowed_per_s:.0f} a second.",
    ]
    if cost.peak_bytes is not None:
        times = cost.peak_bytes / cost.volume_bytes
        facts.append(f"Peak memory: {cost.peak_bytes / 1e6:.0f} MB, {times:.2f} times the int16 volume.")
    return facts
