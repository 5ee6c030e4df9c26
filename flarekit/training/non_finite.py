"""Which slices made a loss that is not a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from flarekit.errors import TrainingError
from flarekit.training.processes import Processes

_NAMED = 8  # slices named at most


def refuse_loss(loss: float, iteration: int, objective: nn.Module, batches: list[Any], accelerator: Processes) -> None:
    """Raises TrainingError that names the slices with a loss that is not finite, in every process alike.

    `batches` are those of this process in the 0-based `iteration`.
    """
    found = [name for batch in batches for name in offenders(objective, batch, iteration)]
    names = [name for batch in batches for name in batch.names]
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        found, names = gather_object(found), gather_object(names)
    found = found or names  # each alone is harmless
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise TrainingError(
        f"the loss is {loss} in iteration {iteration + 1}, on {'; '.join(found[:_NAMED])}{more}",
        remedy="Look at these slices, or start a new run with a lower --lr or with --clip-norm.",
    )


@torch.no_grad()
def offenders(objective: nn.Module, batch: Any, iteration: int) -> list[str]:
    """Names of the slices of a batch whose loss is not finite when they stand alone."""
    found = []
    for single in batch.singles():
        _, parts = objective(single, iteration)
        if not all(bool(part.isfinite().all()) for part in parts.values()):
            found.append(single.names[0])
    return found
