"""GPU memory, CPU utilisation and RAM of every case over time, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flarekit.bench.efficiency import TOLERATED_GPU_MB, CaseCost
from flarekit.files import atomic_path

NAMED_CASES = 10  # more curves than that are drawn without a legend
_PANELS = {"gpu_mb": "GPU memory, MB", "cpu_percent": "CPU, % of all cores", "ram_mb": "RAM, MB"}


def draw_efficiency(path: Path, costs: Sequence[CaseCost], title: str) -> None:
    """Write the PNG; a panel for which nothing was told is left out. Raises OutputError."""
    from matplotlib.figure import Figure

    told = [name for name in _PANELS if any(getattr(s, name) is not None for cost in costs for s in cost.samples)]
    figure = Figure(figsize=(8, 1 + 2.2 * len(told)), layout="constrained")
    for axes, name in zip(figure.subplots(len(told), 1, sharex=True, squeeze=False)[:, 0], told, strict=True):
        for cost in costs:
            label = f"{cost.name} (failed)" if cost.error else cost.name
            values = [getattr(sample, name) for sample in cost.samples]
            axes.plot([sample.time_s for sample in cost.samples], values, linewidth=1, label=label)
        if name == "gpu_mb":
            axes.axhline(TOLERATED_GPU_MB, color="black", linestyle=":", linewidth=1)
        axes.set_ylabel(_PANELS[name])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    axes.set_xlabel("seconds since the process was started")
    figure.suptitle(title, fontsize=9)
    if len(costs) <= NAMED_CASES:
        axes.legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
