"""What changes over the iterations, each a pure function of the iteration so that a resumed run needs no state."""

from __future__ import annotations

import math

from flarekit.config.training import CPSConfig, OptimiserConfig, STCNTrainingConfig

RAMPUP_SHARE = 0.4  # of the iterations, where no number of them is given


def learning_rate(config: OptimiserConfig, iteration: int, iterations: int) -> float:
    """Learning rate of the 0-based `iteration` of so many; halved at 80 % and 90 % of them (paper, tables 2 and 3)."""
    return config.lr * _warmup(config, iteration) * _decay(config, iteration / iterations)


def consistency_weight(config: CPSConfig, iteration: int) -> float:
    """Weight of the unsupervised loss: exp(-5 (1 - t)^2) of its final value, t growing from 0 to 1 over the ramp.

    The ramp is that of Laine and Aila (ICLR 2017), counted in iterations: the paper's code counted epochs, of
    which it had too few for the weight to pass 0.002.
    """
    length = RAMPUP_SHARE * config.loop.iterations if config.rampup is None else config.rampup
    progress = min(1.0, iteration / length) if length else 1.0
    return config.consistency * math.exp(-5.0 * (1.0 - progress) ** 2)


def bootstrap_share(config: STCNTrainingConfig, iteration: int) -> float:
    """Share of voxels the cross-entropy keeps: all at first, then linearly fewer down to the hardest few."""
    progress = iteration / config.loop.iterations
    way = (progress - config.bootstrap_from) / (config.bootstrap_until - config.bootstrap_from)
    return 1.0 - min(1.0, max(0.0, way)) * (1.0 - config.bootstrap_share)


def _warmup(config: OptimiserConfig, iteration: int) -> float:
    return min(1.0, (iteration + 1) / config.warmup) if config.warmup else 1.0


def _decay(config: OptimiserConfig, progress: float) -> float:
    if config.schedule == "cosine":
        return (1.0 + math.cos(math.pi * progress)) / 2
    if config.schedule == "poly":
        return (1.0 - progress) ** config.power
    return config.factor ** sum(progress >= milestone for milestone in config.milestones)
