"""Does one number rank cases as another does? Rank correlation, and what choosing the best-ranked cases gains.

Paintings of one anatomy resemble each other, so intervals come from drawing anatomies again, each with all its cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with the range that 95 % of the resampled ones lie in."""

    value: float
    low: float | None  # None where there is a single anatomy
    high: float | None

    def __str__(self) -> str:
        """As tables show it."""
        return f"{self.value:.3f}" + ("" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})")


@dataclass(frozen=True, kw_only=True)
class BestShare:
    """What the best-scored part of the cases is worth."""

    cases: int  # in that part
    dice: float  # their mean true Dice
    gain: Interval  # over all cases' mean


def spearman(scores: np.ndarray, dice: np.ndarray, anatomies: Sequence[str], *, seed: int = 0) -> Interval | None:
    """Spearman's rank correlation of (N,) scores with true Dice, ties at their mean rank.

    `anatomies` (N,) says which cases belong together. None with fewer than three cases, or where either is constant.
    """
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(dice) == 0:
        return None

    def correlation(times: np.ndarray) -> np.ndarray:
        return _correlation(_ranks(scores, times), _ranks(dice, times), times)

    return _estimate(correlation, anatomies, seed)


def best_share(
    scores: np.ndarray, dice: np.ndarray, anatomies: Sequence[str], *, share: float, seed: int = 0
) -> BestShare:
    """The mean true Dice of the best-scored `share` (0..1) of N cases, one at least.

    Where only some of equally scored cases fit in, all of them count in equal parts: a score that says nothing gains
    nothing, in whatever order cases come. Raises ValueError without a case.
    """
    if not len(scores):
        raise ValueError("a share needs at least one case")

    def gain(times: np.ndarray) -> np.ndarray:
        return _mean(dice, _best(scores, times, share)) - _mean(dice, times)

    taken = _best(scores, np.ones((1, len(scores))), share)
    return BestShare(cases=round(taken.sum()), dice=float(_mean(dice, taken)[0]), gain=_estimate(gain, anatomies, seed))


def _estimate(statistic: Callable[[np.ndarray], np.ndarray], anatomies: Sequence[str], seed: int) -> Interval:
    """Of a statistic that takes how many times each case counts (R, N), and gives (R,) values, NaN for none."""
    names, owner = np.unique(np.asarray(anatomies), return_inverse=True)
    value = float(statistic(np.ones((1, len(owner))))[0])
    if len(names) == 1:
        return Interval(value=value, low=None, high=None)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    values = statistic(drawn[:, owner].astype(np.float64))
    low, high = np.nanpercentile(values, (2.5, 97.5)).tolist()
    return Interval(value=value, low=low, high=high)


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """float64 (R, N): the mean rank of each value when each counts so many times."""
    below, equal = values < values[:, None], values == values[:, None]
    return times @ below.T + (times @ equal.T + 1) / 2


def _correlation(one: np.ndarray, other: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(R,) Pearson's correlation of (R, N) values that count so many times; NaN where one of the two is constant."""
    one, other = (values - _mean(values, times)[:, None] for values in (one, other))
    spread = np.sqrt(_mean(one**2, times) * _mean(other**2, times))
    together = _mean(one * other, times)
    return np.divide(together, spread, out=np.full_like(spread, np.nan), where=spread > 1e-9)


def _best(scores: np.ndarray, times: np.ndarray, share: float) -> np.ndarray:
    """float64 (R, N): how much of each case is among the best-scored share, where (R, N) says how often it is there."""
    better, equal = scores > scores[:, None], scores == scores[:, None]
    before, together = times @ better.T, times @ equal.T
    count = np.maximum(1, np.round(share * times.sum(axis=1, keepdims=True)))
    return times * np.clip(count - before, 0, together) / np.maximum(together, 1)


def _mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(R,) means of (N,) or (R, N) values that count so many times."""
    return (values * times).sum(axis=1) / times.sum(axis=1)
