"""The benchmark of the reference module's backends."""

from __future__ import annotations

import json
from dataclasses import replace

import tiny_networks
import torch

from flarekit.bench import backends
from flarekit.config.architecture import ARCHITECTURES


class Halved:
    """Stands in for ONNX Runtime: exports at once and is wrong by a half."""

    def __init__(self, network, cache) -> None:
        self.network = network

    def prepare(self, size) -> None:
        pass

    def __call__(self, image, position) -> torch.Tensor:
        return self.network(image, position) / 2


def test_every_network_is_timed_in_every_backend(monkeypatch, run_cli):
    tiny = replace(ARCHITECTURES["lite"], transunet=tiny_networks.TRANSUNET, deeplabv3plus=tiny_networks.DEEPLAB)
    monkeypatch.setitem(ARCHITECTURES, "lite", tiny)
    monkeypatch.setattr(backends, "OnnxNetwork", Halved)
    outcome = run_cli("bench", "backends", "--arch", "lite", "--pixels", "64", "--batch", "2", "--runs", "1", "--json")
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["shape"] == [2, 3, 64, 64] and result["dtype"] == "float32" and result["machine"]["threads"] >= 1
    assert [cost["network"] for cost in result["networks"]] == ["transunet", "deeplabv3plus"]
    for cost in result["networks"]:
        assert cost["times_faster_than_torch"] == cost["torch_s"] / cost["onnx_s"]
        assert abs(cost["error"] - 0.5) < 1e-6


def test_sizes_that_no_network_takes_are_refused(run_cli):
    assert run_cli("bench", "backends", "--pixels", "100").code == 2
    assert run_cli("bench", "backends", "--arch", "huge").code == 2


def test_the_middle_of_the_runs_counts_and_the_first_does_not(monkeypatch):
    times = iter([100.0, 200.0, 1.0, 20.0, 9.0, 40.0, 3.0, 30.0])
    monkeypatch.setattr(backends, "timed", lambda each, **_: type("Timing", (), {"median_s": next(times)}))
    assert backends._in_turns({"a": int, "b": int}, 3) == {"a": 3.0, "b": 30.0}
