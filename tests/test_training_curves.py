"""The picture of a run's metrics, and the curves that TensorBoard gets."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from flarekit.errors import MissingDependency
from flarekit.training.curves import draw_curves, smoothed
from flarekit.training.metrics_log import curves_of, metrics_log, require_tensorboard
from flarekit.training.run_folder import RunFolder

TRAIN = {"kind": "train", "iteration": 1, "lr": 1e-4, "loss": 2.0, "supervised_a": 1.5, "consistency_weight": 0.01}
VALIDATION = {"kind": "validation", "iteration": 2, "dice": 0.5, "organs": {"liver": 0.5}, "networks": {"a": 0.4}}


def test_a_curve_is_thinned_to_the_means_of_its_stretches() -> None:
    where, means = smoothed([1.0, 3.0, 5.0, 7.0, 8.0], points=3)
    assert where.tolist() == [0.5, 2.5, 4.0] and means.tolist() == [2.0, 6.0, 8.0]
    assert len(smoothed(np.arange(50_000), points=100)[0]) == 100


@pytest.mark.parametrize("lines", [[TRAIN, TRAIN | {"iteration": 2}, VALIDATION], [TRAIN]])
def test_metrics_become_a_picture(tmp_path: Path, lines: list[dict]) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_validation_without_dice_is_drawn_as_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    unknown = {"kind": "validation", "iteration": 2, "dice": None, "organs": {}, "networks": {"one": None}}
    lines = [{"kind": "train", "iteration": 1, "lr": 0.1, "loss": 1.0}, unknown]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG") and not recwarn.list
    assert curves_of(unknown) == {}


def test_every_number_of_a_line_is_a_curve() -> None:
    assert curves_of(VALIDATION) == {
        "validation/dice": 0.5,
        "validation/organs/liver": 0.5,
        "validation/networks/a": 0.4,
    }


def test_tensorboard_gets_what_the_metrics_get(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    for done, lines in (
        (0, [TRAIN, TRAIN | {"iteration": 2}]),
        (1, [TRAIN | {"iteration": 2, "loss": 1.0}, VALIDATION]),
    ):
        with metrics_log(folder, tensorboard=True, done=done) as record:  # stopped after 2, goes on after 1
            for line in lines:
                record(line)
    events = accumulator.EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.0), (2, 1.0)]
    assert events.Scalars("validation/organs/liver")[0].value == 0.5
    assert len(folder.metrics.read_text().splitlines()) == 4


def test_tensorboard_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="pip install tensorboard"):
        require_tensorboard()
