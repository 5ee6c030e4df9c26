"""What segmenting cases takes, as FLARE22 counts it: run time, and the areas under the curves of memory and CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flarekit.bench.sampling import Sample

TOLERATED_GPU_MB = 2048.0  # the challenge's tolerance of GPU memory
TOLERATED_RAM_MB = 28 * 1024.0  # and what a container may take of RAM
SUMMED = ("run_s", "loading_s", "gpu_mb_s", "gpu_above_mb_s", "cpu_percent_s", "machine_percent_s", "cpu_s")
LARGEST = ("peak_gpu_mb", "peak_ram_mb")


@dataclass(frozen=True, kw_only=True)
class CaseCost:
    """What one case took; None is what could not be told."""

    name: str
    error: str = ""  # why the case failed; what it took up to then is not counted in sums
    shape: tuple[int, ...] | None = None  # voxels, along the file's own axes
    run_s: float  # from the start of the process to its end
    loading_s: float | None = None  # of that: the interpreter, the libraries, the weights, and the end
    stages_s: dict[str, float] = field(default_factory=dict)  # of that: the rest, as the mask's JSON has it
    gpu_before_mb: float | None = None  # memory of the card in use before; it is part of what follows
    gpu_mb_s: float | None = None  # area under GPU memory over time, MB times seconds
    gpu_above_mb_s: float | None = None  # the part of it that lies above the challenge's tolerance
    cpu_percent_s: float  # area under CPU utilisation over time; 100 % is every core
    machine_percent_s: float  # the same of all that ran on the machine, which the organisers count
    cpu_s: float  # CPU time
    peak_gpu_mb: float | None = None
    peak_ram_mb: float  # of the process and its descendants
    sampling_share: float  # CPU time that the sampling took, of one core
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All numbers to the thousandth, without the samples."""
        entry = {name: _rounded(value) for name, value in vars(self).items() if name != "samples"}
        return entry | {"stages_s": {name: _rounded(value) for name, value in self.stages_s.items()}}

    def curves(self) -> dict[str, list[float | None]]:
        """The samples, a list for each of their numbers."""
        return {name: [_rounded(getattr(sample, name)) for sample in self.samples] for name in Sample.__annotations__}


def areas(samples: Sequence[Sample], cores: int) -> dict[str, float | None]:
    """The numbers of a case that its samples give: each stands for its own span.

    GPU memory is that of the whole card, whoever uses it, as the organisers take it.
    """
    card = [(sample.gpu_mb, sample.span_s) for sample in samples if sample.gpu_mb is not None]
    cpu_percent_s = sum(sample.cpu_percent * sample.span_s for sample in samples)
    return {
        "gpu_mb_s": sum(mb * span_s for mb, span_s in card) if card else None,
        "gpu_above_mb_s": sum(max(0.0, mb - TOLERATED_GPU_MB) * span_s for mb, span_s in card) if card else None,
        "cpu_percent_s": cpu_percent_s,
        "machine_percent_s": sum(sample.machine_percent * sample.span_s for sample in samples),
        "cpu_s": cpu_percent_s / 100 * cores,
        "peak_gpu_mb": max((mb for mb, _ in card), default=None),
        "peak_ram_mb": max((sample.ram_mb for sample in samples), default=0.0),
    }


def summed(costs: Sequence[CaseCost]) -> dict[str, Any]:
    """Times and areas of the cases that did not fail in sum, their largest peaks; None where one of them has none."""
    done = [cost for cost in costs if not cost.error]
    result: dict[str, Any] = {"cases": len(done), "failed": len(costs) - len(done)}
    for names, merge in ((SUMMED, sum), (LARGEST, max)):
        for name in names:
            values = [getattr(cost, name) for cost in done]
            result[name] = _rounded(merge(values)) if values and None not in values else None
    return result


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
