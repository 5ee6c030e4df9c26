"""`flarekit bench affinity`: what it measures, and that its rivals compute the same thing."""

from __future__ import annotations

import json

import pytest
import torch

from flarekit.bench import affinity as bench
from flarekit.bench.affinity import Case, ReadCost, bench_affinity, costs_to_json, grid, published_read
from flarekit.bench.memory import extra_memory_bytes
from flarekit.ops.reference import read_memory_reference


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("TOKENS", 32), ("CHANNELS", 6), ("WIDTH", 10)):
        monkeypatch.setattr(bench, name, size)


def test_the_grid_goes_over_frames_objects_and_both_reads() -> None:
    cases = grid(frames=(5, 20), objects=(1, 13))
    assert len(cases) == 8
    assert cases[0] == Case(frames=5, objects=1, top_k=None)
    assert cases[-1] == Case(frames=20, objects=13, top_k=bench.TOP_K)


@pytest.mark.parametrize("top_k", [None, 3])
def test_the_published_formula_reads_what_the_reference_reads(top_k: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 6, 20), (1, 6, 7), (1, 3, 5, 20)
    memory_key, query_key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    readout = published_read(memory_key, query_key, value, top_k)
    exact = read_memory_reference(memory_key.mT, query_key.mT, value.mT, top_k=top_k)
    torch.testing.assert_close(readout.mT, exact)


def test_every_method_of_a_case_is_right_and_timed(small: None) -> None:
    costs = list(bench_affinity(grid(frames=(2,), objects=(3,)), runs=1))
    methods = [(cost.method, cost.case.top_k) for cost in costs]
    assert methods == [(m, None) for m in ("flarekit", "formula", "attention")] + [
        (m, 20) for m in ("flarekit", "formula")
    ]
    assert all(cost.error < 1e-5 and cost.time_s > 0 for cost in costs)
    rows = costs_to_json(costs)["reads"]
    assert [row["times_faster_than_formula"] for row in rows if row["method"] == "formula"] == [1.0, 1.0]
    assert rows[0]["frames"] == 2 and rows[0]["objects"] == 3


def test_a_read_in_half_the_formulas_time_is_twice_as_fast() -> None:
    case = Case(frames=5, objects=1, top_k=None)
    costs = [
        ReadCost(case=case, method=name, time_s=time_s, extra_bytes=0, error=0.0)
        for name, time_s in (("flarekit", 1.5), ("formula", 3.0))
    ]
    assert [row["times_faster_than_formula"] for row in costs_to_json(costs)["reads"]] == [2.0, 1.0]


def test_halves_are_measured_as_such(small: None) -> None:
    cases = grid(frames=(2,), objects=(1,), dtypes=("float16", "bfloat16"))
    assert [case.dtype for case in cases] == ["float16"] * 2 + ["bfloat16"] * 2
    errors = {(c.case.dtype, c.case.top_k): c.error for c in bench_affinity(cases, runs=1) if c.method == "flarekit"}
    assert 1e-5 < errors["float16", None] < 1e-3 < errors["bfloat16", None] < 5e-3
    assert 1e-5 < errors["float16", 20] < 1e-3 < errors["bfloat16", 20] < 5e-3


def test_every_shape_is_compiled_anew(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: done.append("reset"))
    monkeypatch.setattr(torch, "compile", lambda read, dynamic: done.append("compile") or read)
    costs = list(bench_affinity(grid(frames=(1, 2), objects=(1,))[::2], compiled=True, runs=1))
    assert done == ["reset", "compile"] * 2
    assert all(cost.error < 1e-5 for cost in costs)


def test_extra_memory_is_that_of_the_peak_not_of_what_stays() -> None:
    held = torch.ones(4_000_000)

    def work() -> float:
        return float((held * 2).sum())

    extra = extra_memory_bytes(work)
    if extra is None:
        pytest.skip("this system does not tell resident memory")
    assert 12e6 < extra < 48e6


def test_the_command_prints_one_object(run_cli, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    outcome = run_cli("bench", "affinity", "--quick", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["machine"]["threads"] >= 1 and result["dtypes"] == ["float32"]
    assert {read["method"] for read in result["reads"]} == {"flarekit", "formula", "attention"}
    table = run_cli("bench", "affinity", "--quick", "--device", "cpu").stdout
    assert "x formula" in table and "nearest 20" in table


def test_an_unknown_dtype_is_refused(run_cli) -> None:
    outcome = run_cli("bench", "affinity", "--dtype", "int8")
    assert outcome.code == 2
    assert "float32, float16, bfloat16" in outcome.stderr
