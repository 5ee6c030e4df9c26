"""Device, precision and processes of a run: one process alone, or several started by `accelerate launch`."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor

from flarekit.errors import UsageError

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_LONGEST_VALIDATION = timedelta(hours=6)  # the first process validates while the others wait


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Device, precision and processes. Raises UsageError for a precision that this device is slow in."""
    if device.type == "cpu" and precision != "fp32":
        raise UsageError(f"{precision} is far slower than fp32 on a CPU", remedy="Leave --precision out, or use a GPU.")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=_MIXED_PRECISION[precision],
        kwargs_handlers=[
            # Encoders may have parameters no gradient reaches (EfficientNet's unused head).
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_LONGEST_VALIDATION),
        ],
    )


def mean_of_processes(accelerator: Accelerator, values: Tensor) -> list[float]:
    """The mean over all processes of each of these values (N,), the same in every process."""
    if accelerator.num_processes > 1:
        values = accelerator.reduce(values, reduction="mean")
    return values.tolist()


def anywhere(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set in any of the processes."""
    return any(mean_of_processes(accelerator, torch.tensor([float(flag)], device=accelerator.device)))
