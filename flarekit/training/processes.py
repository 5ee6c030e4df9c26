"""Device, precision and processes of a run: one process alone, or several started by `accelerate launch`.

accelerate is imported where it is needed alone: for several processes, and for fp16 with its scaled gradients.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias, Union

import torch
from torch import Tensor

from flarekit.errors import MissingDependency, UsageError
from flarekit.training.alone import Alone
from flarekit.training.cpu import is_fast_in_bf16

if TYPE_CHECKING:
    from accelerate import Accelerator

Processes: TypeAlias = Union["Accelerator", Alone]  # what a run computes with

_LAUNCHERS = ("ACCELERATE_", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # how variables begin that they set
_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_LONGEST_VALIDATION = timedelta(hours=6)  # the first process validates while the others wait


def make_accelerator(device: torch.device, precision: str) -> Processes:
    """Device, precision and processes.

    Raises UsageError for a precision that this device is slow in, MissingDependency where accelerate is needed and
    missing.
    """
    if device.type == "cpu":
        _require_quick(precision)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if precision == "fp16" or any(name.startswith(_LAUNCHERS) for name in os.environ):
        return _accelerator(device, precision)
    return Alone(device, bf16=precision == "bf16")


def _accelerator(device: torch.device, precision: str) -> Accelerator:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "several processes and fp16 need accelerate", remedy="Install accelerate, or train in one process."
        ) from error
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=_MIXED_PRECISION[precision],
        kwargs_handlers=[
            # Encoders may have parameters no gradient reaches (EfficientNet's unused head).
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_LONGEST_VALIDATION),
        ],
    )


def _require_quick(precision: str) -> None:
    """Raises UsageError for a precision that makes this CPU slower."""
    if precision == "fp32" or (precision == "bf16" and is_fast_in_bf16()):
        return
    why = "on this CPU, which has neither AVX512-BF16 nor AMX" if precision == "bf16" else "on a CPU"
    raise UsageError(f"{precision} is far slower than fp32 {why}", remedy="Leave --precision out, or use a GPU.")


def mean_of_processes(accelerator: Processes, values: Tensor) -> list[float]:
    """The mean over all processes of each of these values (N,), the same in every process."""
    if not isinstance(accelerator, Alone) and accelerator.num_processes > 1:
        values = accelerator.reduce(values, reduction="mean")
    return values.tolist()


def anywhere(accelerator: Processes, flag: bool) -> bool:
    """Whether the flag is set in any of the processes."""
    return any(mean_of_processes(accelerator, torch.tensor([float(flag)], device=accelerator.device)))
