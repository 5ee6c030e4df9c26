"""A run's metrics as one picture: losses, learning rate, and validation Dice by organ over the iterations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flarekit.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 100  # a curve has at most so many; each is the mean of its stretch of iterations
NAMED_ORGANS = 20  # more curves than that are drawn without a legend
_NOT_LOSSES = frozenset(
    {"kind", "iteration", "lr", "elapsed_s", "waited_share", "consistency_weight", "bootstrap_share"}
)


def draw_curves(metrics: Path, picture: Path) -> None:
    """Draw the PNG of a run's `metrics.jsonl`; one that exists is replaced. Raises OutputError."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    train, validation = ([line for line in lines if line["kind"] == kind] for kind in ("train", "validation"))
    figure = Figure(figsize=(12, 8))
    figure.subplots_adjust(left=0.05, right=0.84, bottom=0.07, top=0.95, wspace=0.14, hspace=0.14)
    panels = figure.subplots(2 if validation else 1, 2, sharex=True, squeeze=False)
    _draw_losses(panels[0, 0], train)
    _draw_rates(panels[0, 1], train)
    if validation:
        _draw_dice(panels[1, 0], validation)
        _draw_organs(panels[1, 1], validation)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
    with atomic_path(picture, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def smoothed(values: Sequence[float], points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Middle positions and means of at most `points` stretches of the values, all of one length but the last."""
    length = max(1, -(-len(values) // points))
    stretches = [range(start, min(start + length, len(values))) for start in range(0, len(values), length)]
    array = np.asarray(values, dtype=float)
    return np.array([np.mean(stretch) for stretch in stretches]), np.array(
        [array[stretch].mean() for stretch in stretches]
    )


def _draw_losses(axes: Axes, train: list[dict[str, Any]]) -> None:
    axes.set_title("training losses")
    for name in [name for name in train[0] if name not in _NOT_LOSSES]:
        _plot(axes, train, name)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def _draw_rates(axes: Axes, train: list[dict[str, Any]]) -> None:
    axes.set_title("learning rate (left) and weights of losses (right)")
    weights = axes.twinx()
    _plot(axes, train, "lr", color="black")
    for name in ("consistency_weight", "bootstrap_share"):
        if name in train[0]:
            _plot(weights, train, name, color="C1")
    axes.set_ylim(bottom=0)
    weights.set_ylim(bottom=0)
    handles = [*axes.get_lines(), *weights.get_lines()]
    weights.legend(handles=handles, fontsize="small")  # above the lines of both


def _draw_dice(axes: Axes, validation: list[dict[str, Any]]) -> None:
    axes.set_title("validation Dice, mean over organs")
    iterations = [line["iteration"] for line in validation]
    axes.plot(iterations, [line["dice"] for line in validation], ".-", color="black", label="published")
    for network in validation[0]["networks"]:
        axes.plot(iterations, [line["networks"][network] for line in validation], ".-", label=f"{network} alone")
    axes.set_ylim(0, 1)
    axes.legend(fontsize="small")


def _draw_organs(axes: Axes, validation: list[dict[str, Any]]) -> None:
    axes.set_title("validation Dice by organ")
    names = list(validation[0]["organs"])
    for index, name in enumerate(names):
        values = [line["organs"].get(name, np.nan) for line in validation]
        axes.plot(
            [line["iteration"] for line in validation], values, ".-" if index < 10 else ".--",
            color=f"C{index % 10}", label=name.replace("_", " "),
        )  # fmt: skip
    axes.set_ylim(0, 1)
    if 0 < len(names) <= NAMED_ORGANS:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.02), frameon=False)


def _plot(axes: Axes, train: list[dict[str, Any]], name: str, **style: Any) -> None:
    where, means = smoothed([line[name] for line in train])
    iterations = np.array([line["iteration"] for line in train])
    axes.plot(np.interp(where, np.arange(len(iterations)), iterations), means, label=name.replace("_", " "), **style)
