"""What a run goes on from: weights, their average where there is one, optimiser, and how far it came.

Samples, schedules and dropout are functions of the iteration, so that no generator has to be kept and any number
of processes can go on from one file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from flarekit.errors import CheckpointError
from flarekit.training.averaging import WeightAverage
from flarekit.training.processes import Processes

FORMAT = 2


@dataclass
class Progress:
    """What changes while a run goes on, beside weights and optimiser."""

    iteration: int = 0  # iterations done
    best_dice: float = -1.0
    best_score: dict[str, Any] | None = None  # of the best validation so far, with its iteration


def snapshot(
    progress: Progress, objective: nn.Module, optimiser: Any, accelerator: Processes, average: WeightAverage | None
) -> dict[str, Any]:
    """The state of a run between two iterations, in types that `save_state` writes."""
    return {
        "format": FORMAT,
        "progress": asdict(progress),
        "objective": objective.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler else {},
        **({} if average is None else {"average": average.state_dict()}),
    }


def restore(
    state: dict[str, Any], objective: nn.Module, optimiser: Any, accelerator: Processes,
    average: WeightAverage | None, *, where: Path,
) -> Progress:  # fmt: skip
    """Put a state back into objective, optimiser and average; how far it came comes back.

    Raises CheckpointError when the state of the file `where` is of another format or of other networks.
    """
    if state.get("format") != FORMAT:
        raise _foreign(where, f"it has format {state.get('format')}, this flarekit reads {FORMAT}")
    try:
        objective.load_state_dict(state["objective"])
        optimiser.load_state_dict(state["optimiser"])
        if accelerator.scaler and state["scaler"]:
            accelerator.scaler.load_state_dict(state["scaler"])
        if average is not None:
            average.load_state_dict(state["average"])
        return Progress(**state["progress"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _foreign(where, str(error).splitlines()[0]) from error


def seed_dropout(seed: int, iteration: int, share: int) -> None:
    """Make what the networks draw a function of these three; `share` numbers the batches of an iteration."""
    torch.manual_seed(int(np.random.SeedSequence((seed, iteration, share)).generate_state(1, np.uint64)[0] >> 1))


def _foreign(where: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"is not a state of this run ({why})", where=where, remedy="Start the run anew under another name."
    )
