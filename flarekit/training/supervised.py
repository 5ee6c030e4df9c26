"""One network of the reference pair on labelled slices alone: the ablation's first row, and pretraining."""

from __future__ import annotations

from torch import Tensor, nn

from flarekit.config.training import SupervisedConfig
from flarekit.data.datasets import CPSBatch
from flarekit.training.losses import supervised_loss


class SupervisedObjective(nn.Module):
    """The loss of one network on labelled slices: the supervised branch of CPS (paper, section 2.2)."""

    def __init__(self, network: nn.Module, config: SupervisedConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, batch: CPSBatch, iteration: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar with gradient, and without: supervised (L,). It is the same in every iteration."""
        logits = self.network(batch.images, batch.positions)
        loss = supervised_loss(logits, batch.classes, smoothing=self.config.smoothing, labelled=batch.looked_for)
        return loss.mean(), {f"supervised_{self.config.network}": loss.detach()}
