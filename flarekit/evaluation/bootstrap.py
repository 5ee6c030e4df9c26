"""How sure a mean over cases is: the bootstrap, which draws the cases again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over cases, and the range that 95 % of the means over resampled cases lie in."""

    mean: float
    low: float
    high: float


def mean_over_cases(values: np.ndarray, *, seed: int = 0) -> Estimate:
    """The mean of one value a case (N,). Differences between two methods on the same cases make it a paired bootstrap.

    Raises ValueError without a case.
    """
    if not len(values):
        raise ValueError("a mean needs at least one case")
    picks = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), (2.5, 97.5))
    return Estimate(mean=float(values.mean()), low=float(low), high=float(high))
