"""examples/confidence_painted.py from painting to the table, on small CTs and with tiny networks."""

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
SMALL = {
    "phantom": ("--spacing", "8", "--size", "48", "--recipe", "plain"),
    "segment": ("--model", "ref", "--propagation-model", "prop", "--device", "cpu"),
}


@pytest.mark.slow
def test_it_paints_segments_and_evaluates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_cli) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    example = importlib.import_module("confidence_painted")
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["one", "two"]}))
    anatomy = canonical_volume(synthetic_anatomy(0, SPACING_MM, (23, 54, 56)), SPACING_MM)
    write_labels(tmp_path / "labels" / "one.nii.gz", anatomy)
    publish_tiny("ref", labels=FLARE22)
    publish_tiny("prop", kind="propagation", labels=FLARE22)

    def run(folder: Path, *arguments: str) -> str:
        monkeypatch.chdir(folder)
        outcome = run_cli(*arguments, *SMALL.get(arguments[0], ()))
        assert outcome.code == 0, outcome.stderr
        return outcome.stdout

    monkeypatch.setattr(example, "KINDS", ("easy", "noise"))
    monkeypatch.setattr(example, "SPLIT", tmp_path / "split.json")
    monkeypatch.setattr(example, "flarekit", run)
    arguments = ["x", tmp_path / "labels", tmp_path / "out", "--anatomies", 1, "--slice-distance", 20]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in arguments])
    example.main()
    out = tmp_path / "out"
    report = json.loads((out / "confidence.json").read_text())
    assert {kind: quality["cases"] for kind, quality in report["kinds"].items()} == dict.fromkeys(example.KINDS, 1)
    assert report["left_out"] == {}
    assert (out / "confidence.png").exists() and (out / "confidence.csv").exists()
