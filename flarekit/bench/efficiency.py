"""What segmenting cases takes, as FLARE22 counts it: run time, and the areas under the curves of memory and CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from flarekit.bench.sampling import Sample

TOLERATED_GPU_MB = 2048.0  # the challenge's tolerance of GPU memory


@dataclass(frozen=True, kw_only=True)
class Areas:
    """What the samples of a run add up to, each of them standing for its own span; None is what could not be told."""

    gpu_mb_s: float | None  # memory of the whole card, whoever uses it, MB times seconds
    gpu_above_mb_s: float | None  # the part of it that lies above the challenge's tolerance
    cpu_percent_s: float  # CPU utilisation of the process, % times seconds; 100 % is every core
    machine_percent_s: float  # the same of all that ran on the machine, which the organisers take
    cpu_s: float  # CPU time of the process
    peak_gpu_mb: float | None  # of the whole card
    peak_ram_mb: float  # of the process and its descendants

    @classmethod
    def under(cls, samples: Sequence[Sample], cores: int) -> Areas:
        """The areas under the curves through the samples, on a machine of so many cores."""
        card = [(sample.gpu_mb, sample.span_s) for sample in samples if sample.gpu_mb is not None]
        cpu_percent_s = sum(sample.cpu_percent * sample.span_s for sample in samples)
        return cls(
            gpu_mb_s=sum(mb * span_s for mb, span_s in card) if card else None,
            gpu_above_mb_s=sum(max(0.0, mb - TOLERATED_GPU_MB) * span_s for mb, span_s in card) if card else None,
            cpu_percent_s=cpu_percent_s,
            machine_percent_s=sum(sample.machine_percent * sample.span_s for sample in samples),
            cpu_s=cpu_percent_s / 100 * cores,
            peak_gpu_mb=max((mb for mb, _ in card), default=None),
            peak_ram_mb=max((sample.ram_mb for sample in samples), default=0.0),
        )


@dataclass(frozen=True, kw_only=True)
class CaseCost:
    """What one case took."""

    name: str
    error: str = ""  # why the case failed
    shape: tuple[int, ...] | None = None  # voxels, along the file's own axes; None where the case failed
    run_s: float  # from the start of the process to its end
    loading_s: float | None = None  # what of that no stage holds: start, libraries, weights, hash, exit; None as above
    stages_s: dict[str, float] = field(default_factory=dict)  # as the mask's JSON has them
    gpu_before_mb: float | None = None  # memory of the card in use before; the areas hold it, too
    areas: Areas
    sampling_share: float  # CPU time that the sampling took, of one core
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All numbers to the thousandth, without the samples."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("areas", "samples")}
        return {name: _rounded(value) for name, value in (own | asdict(self.areas)).items()}

    def curves(self) -> dict[str, list[float | None]]:
        """The samples, a list for each of their numbers."""
        return {each.name: [_rounded(getattr(s, each.name)) for s in self.samples] for each in fields(Sample)}


def summed(costs: Sequence[CaseCost]) -> dict[str, Any]:
    """Times and areas of the cases that did not fail in sum, their largest peaks; None where one of them has none."""
    done = [cost.to_json() for cost in costs if not cost.error]
    result: dict[str, Any] = {"cases": len(done), "failed": len(costs) - len(done)}
    for name in ("run_s", "loading_s", *(each.name for each in fields(Areas))):
        values = [entry[name] for entry in done]
        known = values and None not in values
        result[name] = _rounded(max(values) if name.startswith("peak") else sum(values)) if known else None
    return result


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
