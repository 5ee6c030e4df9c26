"""One process on one device without accelerate: what a training asks of an `Accelerator`, under the same names."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class Alone:
    """The only process of a run. Arithmetic is float32, or bfloat16 under autocast; float16 would need a scaler."""

    num_processes, process_index, is_main_process = 1, 0, True
    scaler = None

    def __init__(self, device: torch.device, *, bf16: bool = False) -> None:
        self.device, self.bf16 = device, bf16

    def prepare(
        self, objective: nn.Module, optimiser: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Both, the objective on the device and in the run's arithmetic."""
        objective.to(self.device)
        if self.bf16:
            objective.forward = torch.autocast(self.device.type, torch.bfloat16)(objective.forward)
        return objective, optimiser

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        loss.backward()

    def clip_grad_norm_(self, parameters: Iterable[Tensor], norm: float) -> None:
        """Scale gradients down to this L2 norm."""
        nn.utils.clip_grad_norm_(parameters, norm)

    def no_sync(self, objective: nn.Module) -> AbstractContextManager[None]:
        """Within it, gradients are not exchanged between processes: there is no other."""
        return nullcontext()

    def main_process_first(self) -> AbstractContextManager[None]:
        """Within it, the first process goes before the others: there is no other."""
        return nullcontext()

    def wait_for_everyone(self) -> None:
        """Nothing: nobody else is there."""
