"""The benchmark of propagation injects true masks, and its stages add up."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from flarekit.bench.propagate import STAGES, Patient, Pictures, Planted, bench_dense, bench_propagation
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN
from flarekit.propagation import propagate

CPU = torch.device("cpu")
CONFIG = PropagationConfig(before=0, after=1, top_k=1)


@pytest.fixture
def patient() -> Patient:
    """Two blocks of organs, moving from slice to slice; the second is on half of the slices."""
    classes = np.zeros((8, 96, 128), dtype=np.uint8)
    for z in range(8):
        classes[z, 16:48, 16 + 4 * z : 48 + 4 * z] = 1
    classes[4:, 64:80, 96:112] = 2
    return Patient(classes=classes, objects=2, annotated=(1, 5))


def test_every_object_is_found_where_it_is(patient: Patient) -> None:
    torch.manual_seed(0)
    slices, network = Pictures(patient, (96, 128)), Planted(STCN(ARCHITECTURES["lite"].stcn), 2)
    masks = {z: slices.masks(z) for z in patient.annotated}
    for result in propagate(network, slices, masks, CONFIG):  # type: ignore[arg-type]
        found = result.probabilities.argmax(0).numpy()
        truth = patient.classes[result.z]
        assert 2 * (found * truth > 0).sum() > 0.8 * ((found > 0).sum() + (truth > 0).sum())
        assert set(np.unique(found)) == set(np.unique(truth))


def test_confined_and_dense_are_timed_stage_by_stage(patient: Patient) -> None:
    confined = bench_propagation(patient, "lite", CONFIG, device=CPU)
    dense = bench_dense(patient, "lite", CONFIG, device=CPU)
    for cost in (confined, dense):
        assert tuple(cost.stages_s) == STAGES
        assert all(seconds > 0 for seconds in cost.stages_s.values())
    assert confined.filled == 2 and confined.annotated == 2


def test_slices_that_are_worked_on_at_once_are_timed_apart(patient: Patient) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cost = bench_propagation(patient, "lite", CONFIG, device=CPU)
    finally:
        torch.set_num_threads(threads)
    assert all(seconds > 0 for seconds in cost.stages_s.values())


def test_the_drawn_patient_has_the_organs_asked_for() -> None:
    drawn = Patient.drawn((20, 64, 64), every=5, objects=4)
    assert drawn.classes.shape == (20, 64, 64) and drawn.classes.max() <= 4
    assert drawn.annotated == (2, 7, 12, 17)


def test_the_command_prints_machine_shape_and_stages(run_cli) -> None:
    sizes = ("--arch", "lite", "--organs", 2, "--slices", 10, "--pixels", 64)
    outcome = run_cli("bench", "propagate", *sizes, "--no-dense", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["shape"] == [10, 64, 64] and report["dtype"] == "float32"
    assert report["machine"]["threads"] >= 1 and list(report["costs"]) == ["confined"]
    cost = report["costs"]["confined"]
    assert cost["volume_s"] == pytest.approx(10 * cost["total_s"]) and cost["peak_bytes"] is None
    assert run_cli("bench", "propagate", "--arch", "huge").code == 2
    assert run_cli("bench", "propagate", "--precision", "half").code == 2


def test_half_precision_is_benchmarked_where_it_is_asked_for(run_cli) -> None:
    sizes = ("--arch", "lite", "--organs", 1, "--slices", 10, "--pixels", 64, "--no-dense", "--device", "cpu")
    outcome = run_cli("bench", "propagate", *sizes, "--precision", "bf16")
    assert outcome.code == 0, outcome.stderr
    assert "10 x 64 x 64 bfloat16" in " ".join(outcome.stdout.split())
    assert "A volume of 10 slices, confined:" in outcome.stdout


@pytest.mark.gpu
def test_a_gpu_tells_what_it_held(patient: Patient) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cost = bench_propagation(patient, "lite", CONFIG, device=torch.device("cuda"))
    assert cost.peak_bytes is not None and cost.peak_bytes > 1e6
