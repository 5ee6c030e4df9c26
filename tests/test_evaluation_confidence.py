"""Masks and the confidence their JSON gives, beside the truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flarekit.cli.commands import app
from flarekit.errors import InputError
from flarekit.evaluation.confidence import ConfidenceReport, judge_masks
from flarekit.evaluation.consensus import TrueMasks
from flarekit.labels import LabelSet
from flarekit.phantom import canonical_volume
from flarekit.volumes import write_labels

LABELS = LabelSet(name="lab", names=("liver", "spleen", "aorta"), ids=(1, 2, 5))
DATASET = {"name": "lab", "labels": {"background": 0, "liver": 1, "spleen": 2, "aorta": 5}}


def write(path: Path, *columns: int) -> None:
    """A label map of 2 x 3 voxels a column, its ids given by column."""
    path.parent.mkdir(exist_ok=True)
    array = np.broadcast_to(np.array(columns, dtype=np.uint8), (2, 3, len(columns)))
    write_labels(path, canonical_volume(array.copy(), (2.0, 1.0, 1.5)))


def segmented(folder: Path, case: str, confidence: dict[str, float | None], *columns: int) -> None:
    """A mask and its JSON, as far as it matters."""
    write(folder / f"{case}.nii.gz", *columns)
    ids = dict(zip(LABELS.names, LABELS.ids, strict=True))
    organs = [{"name": name, "id": ids[name], "confidence": value} for name, value in confidence.items()]
    (folder / f"{case}.json").write_text(json.dumps({"organs": organs}))


@pytest.fixture
def truth(tmp_path) -> TrueMasks:
    """Two cases, of which `b` has no aorta."""
    write(tmp_path / "labels" / "a.nii.gz", 1, 1, 2, 2, 0, 5)
    write(tmp_path / "labels" / "b.nii.gz", 1, 1, 2, 2, 0, 0)
    return TrueMasks.of(tmp_path / "labels", LABELS)


def test_confidence_of_organs_found_is_held_against_their_dice(tmp_path, truth):
    segmented(tmp_path / "easy", "a", {"liver": 0.9, "spleen": 0.6, "aorta": None}, 1, 1, 2, 0, 0, 0)
    judged = judge_masks({"easy": tmp_path / "easy"}, truth)
    (case,) = judged.cases
    assert {name: (organ.scores, round(organ.dice, 4)) for name, organ in case.organs.items()} == {
        "liver": ({"confidence": 0.9}, 1.0),
        "spleen": ({"confidence": 0.6}, 0.6667),
        "aorta": ({}, 0.0),
    }
    assert case.scores == {"confidence": 0.75}
    assert case.dice == pytest.approx((1 + 2 / 3) / 3)


def test_an_organ_that_is_neither_there_nor_found_says_nothing(tmp_path, truth):
    segmented(tmp_path / "easy", "b", {"liver": 0.9, "spleen": 0.8, "aorta": None}, 1, 1, 2, 2, 0, 0)
    (case,) = judge_masks({"easy": tmp_path / "easy"}, truth).cases
    assert list(case.organs) == ["liver", "spleen"]


def test_organs_that_were_not_asked_for_are_not_missed(tmp_path, truth):
    segmented(tmp_path / "easy", "a", {"liver": 0.9, "aorta": None}, 1, 1, 0, 0, 0, 0)  # segment --organs liver,aorta
    (case,) = judge_masks({"easy": tmp_path / "easy"}, truth).cases
    assert {name: organ.scores for name, organ in case.organs.items()} == {"liver": {"confidence": 0.9}, "aorta": {}}
    assert case.dice == 0.5


def test_a_mask_of_another_numbering_is_left_out(tmp_path, truth):
    segmented(tmp_path / "easy", "a", {"liver": 0.9}, 1, 1, 0, 0, 0, 0)
    segmented(tmp_path / "easy", "b", {"liver": 0.9, "spleen": 0.8}, 2, 2, 1, 1, 0, 0)
    report = tmp_path / "easy" / "b.json"
    organs = [{"name": "liver", "id": 2, "confidence": 0.9}, {"name": "spleen", "id": 1, "confidence": 0.8}]
    report.write_text(json.dumps({"organs": organs}))
    judged = judge_masks({"easy": tmp_path / "easy"}, truth)
    assert [case.case for case in judged.cases] == ["a"]
    assert "numbers liver 2, the true label maps 1" in judged.left_out["easy/b"]


def test_the_report_is_over_organs_and_over_cases(tmp_path, truth):
    segmented(tmp_path / "easy", "a", {"liver": 0.9, "spleen": 0.8, "aorta": None}, 1, 1, 2, 2, 0, 0)
    segmented(tmp_path / "easy", "b", {"liver": 0.7, "spleen": 0.6, "aorta": 0.5}, 1, 0, 2, 0, 5, 0)
    judged = judge_masks({"easy": tmp_path / "easy"}, truth)
    report = ConfidenceReport.of(judged, share=0.5)
    assert (report.organs.cases, report.not_found) == (5, 1)  # liver and spleen twice, an aorta that is not there
    assert report.organs.spearman is not None
    assert report.organs.spearman.value == pytest.approx(0.9487, abs=1e-4)  # Dice 1, 1, 2/3, 2/3, 0
    assert report.cases.overall.cases == 2
    assert "kept" not in report.to_json(judged)["cases"][0]


def test_a_mask_without_its_json_is_left_out(tmp_path, truth, caplog):
    segmented(tmp_path / "easy", "a", {"liver": 0.9}, 1, 1, 0, 0, 0, 0)
    write(tmp_path / "easy" / "b.nii.gz", 1, 1, 0, 0, 0, 0)
    judged = judge_masks({"easy": tmp_path / "easy"}, truth)
    assert [case.case for case in judged.cases] == ["a"]
    assert "b.json: is not beside its mask" in judged.left_out["easy/b"]


def test_folders_without_a_case_to_judge_are_refused(tmp_path, truth):
    write(tmp_path / "easy" / "c.nii.gz", 1, 1, 0, 0, 0, 0)
    (tmp_path / "easy" / "c.json").write_text("[]")
    with pytest.raises(InputError, match="is not the JSON of a segmented case"):
        judge_masks({"easy": tmp_path / "easy"}, truth)


def test_the_command_prints_tables_and_writes_csv(tmp_path, truth):
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    segmented(tmp_path / "easy", "a", {"liver": 0.9, "spleen": 0.8, "aorta": None}, 1, 1, 2, 2, 0, 0)
    segmented(tmp_path / "noise", "a", {"liver": 0.7, "spleen": 0.6, "aorta": 0.5}, 1, 0, 2, 0, 5, 0)
    command = ["evaluate", "confidence", *(str(tmp_path / name) for name in ("easy", "noise", "labels"))]
    command += ["--dataset", str(tmp_path / "dataset.json")]
    shown = CliRunner().invoke(app, [*command, "--csv", str(tmp_path / "out.csv")])
    assert shown.exit_code == 0, shown.output
    assert "organs of all cases" in shown.output
    assert "cases of noise" in shown.output
    with (tmp_path / "out.csv").open() as file:
        assert {row["organ"]: row["confidence"] for row in csv.DictReader(file) if row["kind"] == "easy"} == {
            "": "0.8500",
            "liver": "0.9000",
            "spleen": "0.8000",
            "aorta": "",
        }
    printed = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert printed["organs_and_cases"]["cases"] == 5
    assert printed["organs_not_found"] == 1
