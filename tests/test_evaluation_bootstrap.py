"""The bootstrap over cases."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from flarekit.evaluation.bootstrap import Estimate, mean_over_cases


def test_cases_that_are_all_alike_leave_no_doubt():
    assert mean_over_cases(np.full(5, 0.25)) == Estimate(mean=0.25, low=0.25, high=0.25)


def test_the_interval_is_that_of_the_means_of_two_cases():
    # Drawn twice from 0 and 1: 0 in a quarter, 1/2 in a half, 1 in a quarter of the draws.
    assert mean_over_cases(np.array([0.0, 1.0])) == Estimate(mean=0.5, low=0.0, high=1.0)


def test_many_cases_agree_with_the_normal_approximation():
    values = np.random.default_rng(3).normal(0.1, 0.05, size=400)
    found = mean_over_cases(values)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=4e-4)
    assert found.high == pytest.approx(values.mean() + half, abs=4e-4)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="at least one case"):
        mean_over_cases(np.zeros(0))


@pytest.fixture
def benefit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """examples/cps_benefit.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    return importlib.import_module("cps_benefit")


def test_the_example_on_cps_compares_arms_with_paired_intervals(benefit):
    scores = {
        arm: [{"a": {"liver": base, "spleen": 0.5}, "b": {"liver": base + 0.2, "spleen": 0.5}}] * 3
        for arm, base in (("supervised", 0.4), ("longer", 0.4), ("cps", 0.5))
    }
    report = benefit.compare(scores)
    assert report["arms"]["cps"]["gain_over"]["supervised"]["liver"] == pytest.approx([0.1, 0.1, 0.1])
    assert report["arms"]["cps"]["gain_over"]["longer"]["mean"] == pytest.approx([0.05, 0.05, 0.05])
    row = "| liver | 0.500 | 0.500 (+0.000, +0.000 to +0.000) | 0.600 (+0.100, +0.100 to +0.100)"
    row += " | +0.100, +0.100 to +0.100 |"
    assert row in benefit.markdown(report)


def test_the_example_on_cps_reads_what_evaluate_writes(benefit, tmp_path, monkeypatch):
    written = '{"cases": [{"case": "a", "dice": {"liver": 0.5}, "mean": 0.5}], "organs": {"liver": 0.5}, "mean": 0.5}'
    monkeypatch.setattr(benefit.Study, "_run", lambda *_: written)
    study = benefit.Study(labels=tmp_path, out=tmp_path, threads=None)
    assert study.scores(benefit.ARMS[0], 0) == {"a": {"liver": 0.5}}
