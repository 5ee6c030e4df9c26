"""Made-up weights under another project's names: equality tests need its names, shapes and outputs, not its code.

`tests/foreign/*.json` hold, for each network, the names and shapes of its tensors and some values of what it gave for
these weights and this input. `examples/compare_published.py` wrote them by running the published code.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "foreign"


def fixture(name: str) -> dict[str, Any]:
    """What the published code gave: `tensors` (name to shape), and outputs by input."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def made_up_state(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Uniform noise from NumPy's frozen generator, seeded by a tensor's place among the names, to scale."""
    return {name: _tensor(name, tuple(shapes[name]), number) for number, name in enumerate(sorted(shapes))}


def made_up_image(*shape: int) -> Tensor:
    """float32 in 0..1."""
    return torch.from_numpy(np.random.RandomState(2022).uniform(0, 1, shape).astype(np.float32))


def samples(output: Tensor, count: int = 24) -> list[float]:
    """Values spread evenly over an output, and its mean size as the last."""
    flat = output.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, count, dtype=torch.float64).round().long()
    return [float(f"{value:.8g}") for value in (*flat[places].tolist(), flat.abs().mean().item())]


def relative_error(output: Tensor, expected: list[float]) -> float:
    """The largest difference from expected samples, over the largest of them."""
    found = torch.tensor(samples(output, len(expected) - 1), dtype=torch.float64)
    wanted = torch.tensor(expected, dtype=torch.float64)
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def _tensor(name: str, shape: tuple[int, ...], number: int) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    noise = np.random.RandomState(number).uniform(-1, 1, shape)
    if name.endswith("running_var") or (len(shape) < 2 or math.prod(shape) == max(shape)) and name.endswith(_SCALES):
        noise = 1 + 0.3 * noise
    elif len(shape) > 1 and math.prod(shape) != max(shape):
        noise *= math.sqrt(3 / _inputs(name, shape))
    else:
        noise *= 0.1
    return torch.from_numpy(noise.astype(np.float32))


_SCALES = ("weight", "scale")  # of normalisations, where they are vectors


def _inputs(name: str, shape: tuple[int, ...]) -> int:
    """Values that one output is summed from: all but the last axis of a `kernel`, all but the first elsewhere."""
    if "embed" in name and len(shape) == 3:  # position embeddings are added, not multiplied
        return 12
    if name.endswith("kernel"):
        return math.prod(shape[:-1]) if not name.endswith(("query/kernel", "key/kernel", "value/kernel")) else shape[0]
    return math.prod(shape[1:])
