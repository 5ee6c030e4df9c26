"""`flarekit bench train`: what an iteration costs, beside a plain loop."""

from __future__ import annotations

import json

import pytest
from training_setup import TINY, TINY_GRID

from flarekit.bench import train as bench
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.preprocessing import PREPROCESSING


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setitem(PREPROCESSING, "tiny", TINY_GRID)
    monkeypatch.setattr(bench, "SLICES", 2)


def test_an_iteration_is_timed_with_its_data_beside_a_plain_loop(run_cli) -> None:
    outcome = run_cli("bench", "train", "--arch", "tiny", "--iterations", 1, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    cost = json.loads(outcome.stdout)
    assert cost["input_shape"][:2] == [4, 3] and cost["machine"]["threads"] >= 1
    assert 0 <= cost["waited_share"] < 1
    assert cost["ratio"] == pytest.approx(cost["iteration_s"] / cost["plain_s"])


def test_the_table_says_how_the_loops_compare(run_cli) -> None:
    outcome = run_cli("bench", "train", "--arch", "tiny", "--iterations", 1, "--device", "cpu")
    assert "train cps, fp32" in outcome.stdout and "plain loop, fp32" in outcome.stdout and "x plain" in outcome.stdout


def test_unknown_sizes_are_refused(run_cli) -> None:
    outcome = run_cli("bench", "train", "--arch", "huge")
    assert outcome.code == 2 and "--arch is one of" in outcome.stderr
