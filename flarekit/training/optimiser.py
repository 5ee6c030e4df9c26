"""The optimiser of all trainings."""

from __future__ import annotations

import torch
from torch import nn

from flarekit.config.training import OptimiserConfig


def make_optimiser(objective: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW (paper, tables 2 and 3), fused; weights decay, norms and biases do not."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
