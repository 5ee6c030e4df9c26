"""Scores over cases: mean, spread, and how sure the mean is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any

import numpy as np

from flarekit.evaluation.bootstrap import mean_over_cases


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One score over cases."""

    cases: int  # that have it
    mean: float
    sd: float | None  # standard deviation between cases; None for a single one
    interval: tuple[float, float] | None  # 95 %, of the mean, by bootstrap over cases; None for a single one

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """The summary of one value a case. Raises ValueError without a case."""
        if not values:
            raise ValueError("a mean needs at least one case")
        estimate, several = mean_over_cases(np.asarray(values, dtype=np.float64)), len(values) > 1
        return cls(
            cases=len(values),
            mean=estimate.mean,
            sd=stdev(values) if several else None,
            interval=(estimate.low, estimate.high) if several else None,
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, numbers to four decimals."""
        return {
            "cases": self.cases,
            "mean": round(self.mean, 4),
            "sd": None if self.sd is None else round(self.sd, 4),
            "interval_95": None if self.interval is None else [round(end, 4) for end in self.interval],
        }

    def __str__(self) -> str:
        """Mean and spread, as tables show them."""
        return f"{self.mean:.3f}" + ("" if self.sd is None else f" ± {self.sd:.3f}")

    @property
    def interval_text(self) -> str:
        """The interval as tables show it, a dash for none."""
        return "-" if self.interval is None else f"{self.interval[0]:.3f} to {self.interval[1]:.3f}"
