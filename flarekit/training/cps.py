"""Cross pseudo supervision of the reference pair (Chen et al., CVPR 2021; paper, section 2.2).

Both networks learn from labelled slices; on unlabelled slices each learns from the other's hard labels.
As in the paper's code the labelled slices take no part in the unsupervised loss (Chen et al. use them too).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flarekit.config.training import CPSConfig
from flarekit.data.datasets import CPSBatch
from flarekit.training.losses import pseudo_supervision_loss, supervised_loss
from flarekit.training.schedule import consistency_weight


class CPSObjective(nn.Module):
    """The loss of two networks on a batch: supervised of both, and weighted consistency of both."""

    def __init__(self, networks: Mapping[str, nn.Module], config: CPSConfig) -> None:
        super().__init__()
        self.networks, self.config = nn.ModuleDict(networks), config

    def forward(self, batch: CPSBatch, iteration: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar with gradient, and without: supervised (L,) and consistency (U,) by network, the weight.

        `iteration` decides on the weight.
        """
        images = torch.cat((batch.images, batch.unlabelled))
        positions = torch.cat((batch.positions, batch.unlabelled_positions))
        logits = {name: network(images, positions) for name, network in self.networks.items()}
        count = len(batch.images)
        parts = {
            f"supervised_{name}": supervised_loss(
                each[:count], batch.classes, smoothing=self.config.smoothing, labelled=batch.looked_for
            )
            for name, each in logits.items()
        }
        loss = torch.stack([part.mean() for part in parts.values()]).sum()
        weight = consistency_weight(self.config, iteration)
        if len(batch.unlabelled):
            consistency = self._consistency({name: each[count:] for name, each in logits.items()})
            loss = loss + weight * torch.stack([part.mean() for part in consistency.values()]).sum()
            parts |= consistency
        detached = {name: part.detach() for name, part in parts.items()}
        return loss, detached | {"consistency_weight": loss.new_tensor(weight)}

    def _consistency(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        (one, ours), (other, theirs) = logits.items()
        smoothing, confidence = self.config.smoothing, self.config.confidence
        return {
            f"consistency_{one}": pseudo_supervision_loss(ours, theirs, smoothing=smoothing, confidence=confidence),
            f"consistency_{other}": pseudo_supervision_loss(theirs, ours, smoothing=smoothing, confidence=confidence),
        }
