"""examples/consensus_painted.py from painting to the table, on small CTs and with tiny networks."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from segmentation_doubles import publish_tiny

from flarekit.labels import FLARE22
from flarekit.phantom import canonical_volume, synthetic_anatomy
from flarekit.volumes import write_labels

SPACING_MM = (12.0, 7.0, 7.2)
SMALL = ("--spacing", "8", "--size", "48", "--slice-distance", "20", "--recipe", "plain")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_cli):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    module = importlib.import_module("consensus_painted")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"validation": ["one", "two"], "test": []}))
    anatomy = canonical_volume(synthetic_anatomy(0, SPACING_MM, (23, 54, 56)), SPACING_MM)
    write_labels(tmp_path / "labels" / "one.nii.gz", anatomy)

    def run(study, *arguments: str) -> str:
        monkeypatch.chdir(study.out)
        outcome = run_cli(*arguments, *(SMALL if arguments[0] == "phantom" else ()))
        assert outcome.code == 0, outcome.stderr
        return outcome.stdout

    monkeypatch.setattr(module, "SPLIT", split)
    monkeypatch.setattr(module.Study, "_run", run)
    return module


@pytest.mark.slow
def test_it_paints_labels_and_evaluates_and_a_second_run_repeats_nothing(
    example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ",".join(publish_tiny(name, seed=seed, labels=FLARE22).name for seed, name in enumerate(("a", "b")))
    arguments = ["x", tmp_path / "labels", tmp_path / "out", "--models", models, "--part", "validation"]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in (*arguments, "--anatomies", 1)])
    example.main()
    out = tmp_path / "out" / "validation"
    report = json.loads((out / "consensus.json").read_text())
    assert [(kind, quality["cases"]) for kind, quality in report["kinds"].items()] == [(k, 1) for k in example.KINDS]
    assert report["left_out"] == {} and 0 <= report["overall"]["dice"] < 0.5
    assert (out / "consensus.png").exists() and (out / "consensus.csv").exists()
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert len(made) == 3 * 5
    example.main()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == made
