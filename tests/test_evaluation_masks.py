"""Scores of label maps: FLARE22's rules by hand, its official numbers, intervals, and files that are written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from perturbed_labels import write_pair

from flarekit.errors import UsageError
from flarekit.evaluation.cases import FailedCase, pair_cases, score_pairs
from flarekit.evaluation.masks import score_arrays, score_volumes
from flarekit.evaluation.rules import ScoringRules, parse_tolerance
from flarekit.evaluation.summary import Summary
from flarekit.labels import FLARE22, IGNORE, LabelSet
from flarekit.volumes import Volume

SPACING_MM = (3.0, 2.0, 1.0)
ORGANS = ("liver", "aorta", "spleen")
OFFICIAL_SCORES = json.loads((Path(__file__).parent / "flare22_official_scores.json").read_text())


def score(predicted: np.ndarray, true: np.ndarray, rules: ScoringRules | None = None):
    return score_arrays("a", predicted, true, ORGANS, spacing_mm=SPACING_MM, axial=0, rules=rules or ScoringRules())


def aorta(first: int, last: int) -> np.ndarray:
    """(9, 5, 6) classes: 2 on the slices from `first` to `last`."""
    classes = np.zeros((9, 5, 6), dtype=np.uint8)
    classes[first : last + 1, 1:4, 1:4] = 2
    return classes


def test_organs_absent_from_both_score_1_and_from_one_0() -> None:
    scores = score(aorta(2, 4), np.zeros((9, 5, 6), dtype=np.uint8))
    assert scores.dice == {"liver": 1, "aorta": 0, "spleen": 1} == scores.nsd
    assert score(np.zeros((9, 5, 6), dtype=np.uint8), aorta(2, 4)).nsd["aorta"] == 0


def test_a_tubular_organ_may_go_on_beyond_its_labelled_slices() -> None:
    assert score(aorta(0, 8), aorta(2, 6)).dice["aorta"] == 1
    assert score(aorta(0, 8), aorta(2, 6)).nsd["aorta"] == 1
    assert score(aorta(3, 6), aorta(2, 6)).dice["aorta"] == pytest.approx(8 / 9)
    liver = (aorta(0, 8) // 2, aorta(2, 6) // 2)
    assert score(*liver).dice["liver"] == pytest.approx(10 / 14)


def test_the_official_script_leaves_the_last_labelled_slice_out() -> None:
    official = ScoringRules(official=True)
    predicted = aorta(2, 5)
    assert score(predicted, aorta(2, 6)).dice["aorta"] == pytest.approx(8 / 9)
    assert score(predicted, aorta(2, 6), official).dice["aorta"] == 1
    assert score(aorta(4, 4), aorta(4, 4), official).dice["aorta"] == 1


def test_the_official_nsd_is_0_below_a_dice_of_a_fifth() -> None:
    predicted, true = np.zeros((4, 5, 9), dtype=np.uint8), np.zeros((4, 5, 9), dtype=np.uint8)
    predicted[1, 2, 2:7], true[1, 2, 6:] = 1, 1
    corrected, official = score(predicted, true), score(predicted, true, ScoringRules(official=True))
    assert corrected.dice["liver"] == official.dice["liver"] == pytest.approx(2 / 8)
    assert corrected.nsd["liver"] == official.nsd["liver"] > 0.9
    predicted[1, 2, 6], predicted[1, 1, 5] = 0, 1
    corrected, official = score(predicted, true), score(predicted, true, ScoringRules(official=True))
    assert corrected.nsd["liver"] > 0.9 and official.nsd["liver"] == 0


def test_what_the_truth_ignores_does_not_count() -> None:
    predicted, true = aorta(2, 6) // 2, aorta(2, 6) // 2
    predicted[2, 1, 1], true[2, 1, 1] = 0, IGNORE
    predicted[8], true[8] = 1, IGNORE
    assert score(predicted, true).dice["liver"] == 1 == score(predicted, true).nsd["liver"]


@pytest.mark.parametrize(("case", "mirrored"), [("FLARE22_Tr_0003", False), ("FLARE22_Tr_0021", True)])
def test_official_scores_are_those_of_the_official_script(
    shared_data: Path, tmp_path: Path, case: str, mirrored: bool
) -> None:
    source, name = shared_data / "flare22_labels" / f"{case}.nii.gz", f"{case}.nii.gz"
    write_pair(source, tmp_path / "predicted" / name, tmp_path / "true" / name, mirrored=mirrored)
    pairs = pair_cases(tmp_path / "predicted", tmp_path / "true")
    (scores,) = score_pairs(pairs, FLARE22, rules=ScoringRules.of(FLARE22, official=True))
    assert {organ: round(value, 4) for organ, value in scores.dice.items()} == OFFICIAL_SCORES[case]["dice"]
    assert {organ: round(value, 4) for organ, value in scores.nsd.items()} == OFFICIAL_SCORES[case]["nsd"]


def test_official_slices_are_those_of_the_files_third_axis() -> None:
    """Stored with the patient's axis first, the official script leaves out a column of the aorta, not a slice."""
    affine = np.array([[0.0, 0, 1, 0], [0, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
    predicted, true = aorta(2, 6), aorta(2, 6)
    predicted[6], predicted[3, 1:4, 3] = 0, 0
    volumes = [Volume.from_source(array, affine) for array in (predicted, true)]
    corrected = score_volumes("a", *volumes, ORGANS, ScoringRules())
    official = score_volumes("a", *volumes, ORGANS, ScoringRules(official=True))
    assert corrected.dice["aorta"] == pytest.approx(2 * 33 / (33 + 45))
    assert official.dice["aorta"] == pytest.approx(2 * 24 / (24 + 30))


def test_official_scores_do_not_depend_on_how_the_prediction_was_stored() -> None:
    predicted, true = aorta(3, 6), aorta(2, 6)
    predicted[5, 1, 1:4] = 0
    grid = np.diag([1.0, 2.0, 3.0, 1.0])
    turned = np.array([[0.0, -1, 0, 4], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1]])  # as (K, -I, J)
    predicted, true = predicted.transpose(2, 1, 0)[:5], true.transpose(2, 1, 0)[:5]
    volumes = (
        Volume.from_source(predicted, grid),
        Volume.from_source(predicted.transpose(2, 0, 1)[:, ::-1], turned),
    )
    truth, official = Volume.from_source(true, grid), ScoringRules(official=True)
    plain, other = (score_volumes("a", volume, truth, ORGANS, official) for volume in volumes)
    assert 0 < plain.dice["aorta"] < 1 and other == plain


def test_tolerances_come_from_the_names_or_from_the_user() -> None:
    lesions = LabelSet(name="mine", names=("liver", "lesion"), ids=(1, 2))
    assert ScoringRules.of(lesions).tolerance_mm == {"liver": 5.0}
    assert ScoringRules.of(lesions, "2").tolerance_mm == {"liver": 2.0, "lesion": 2.0}
    assert ScoringRules.of(lesions, "Lesion=1.5").tolerance_mm == {"liver": 5.0, "lesion": 1.5}
    for wrong in ("far", "liver=-1", "liver=nan", "femur=2", ""):
        with pytest.raises(UsageError):
            parse_tolerance(wrong, lesions)
    for official in ((lesions, None), (FLARE22, "2")):
        with pytest.raises(UsageError, match="--flare22"):
            ScoringRules.of(*official, official=True)


def test_intervals_hold_the_mean_and_come_out_the_same_again() -> None:
    summary = Summary.of([0.2, 0.4, 0.6, 0.9])
    assert summary.interval is not None and 0.2 <= summary.interval[0] < summary.mean < summary.interval[1] <= 0.9
    assert Summary.of([0.2, 0.4, 0.6, 0.9]) == summary and summary.mean == pytest.approx(0.525)
    assert Summary.of([0.5, 0.5, 0.5]).interval == (0.5, 0.5)
    assert Summary.of([0.5]).interval is None and Summary.of([0.5]).sd is None
    assert Summary.of([0.0, 1.0]).sd == pytest.approx(0.5**0.5)


def save(path: Path, ids: np.ndarray, zoom_mm: float = 2.0) -> Path:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(ids, np.diag([1.0, 1.5, zoom_mm, 1.0])), path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases of a liver; the second is predicted on another grid."""
    ids = np.zeros((8, 7, 6), dtype=np.uint8)
    ids[2:6, 2:6, 1:5] = 1
    for name in ("a", "b", "c"):
        save(tmp_path / "true" / f"{name}.nii.gz", ids)
    save(tmp_path / "predicted" / "a.nii.gz", ids)
    save(tmp_path / "predicted" / "b.nii.gz", ids, zoom_mm=2.5)
    save(tmp_path / "predicted" / "c.nii.gz", np.roll(ids, 1, axis=0))
    return tmp_path / "predicted", tmp_path / "true"


def test_a_case_on_another_grid_is_listed_and_the_others_scored(folders: tuple[Path, Path], run_cli) -> None:
    outcome = run_cli("evaluate", "masks", *folders, "--organs", "liver", "--json", "--tolerance", "0.5")
    assert outcome.code == 7 and "1 of 3 cases could not be scored" in outcome.stderr
    report = json.loads(outcome.stdout)
    assert [case["case"] for case in report["cases"]] == ["a", "c"]
    assert [case["case"] for case in report["failed"]] == ["b"] and "different grids" in report["failed"][0]["error"]
    assert report["dice"]["organs"]["liver"]["mean"] == report["organs"]["liver"] == pytest.approx((1 + 0.75) / 2)
    assert report["dice"]["organs"]["liver"]["interval_95"] == [0.75, 1.0]
    assert 0.5 < report["nsd"]["organs"]["liver"]["mean"] < 1
    assert report["scoring"]["rules"] == "corrected" and report["scoring"]["tolerance_mm"]["liver"] == 0.5


def test_nothing_scored_is_an_error_and_leaves_no_file(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (folders[0] / f"{name}.nii.gz").write_bytes(b"no volume")
    outcome = run_cli("evaluate", "masks", *folders, "--csv", tmp_path / "scores.csv")
    assert outcome.code == 3 and "none of 3 cases could be scored" in outcome.stderr
    assert not (tmp_path / "scores.csv").exists()


def test_tables_and_the_plot_are_written(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    (folders[1] / "b.nii.gz").unlink()
    targets = {name: tmp_path / name for name in ("scores.csv", "scores.md", "scores.png")}
    options = ("--csv", targets["scores.csv"], "--markdown", targets["scores.md"], "--plot", targets["scores.png"])
    assert run_cli("evaluate", "masks", *folders, *options).code == 0
    rows = list(csv.DictReader(targets["scores.csv"].open()))
    assert [(row["case"], row["liver"]) for row in rows] == [("a", "1.0000"), ("c", "0.7500")]
    assert float(rows[1]["liver_nsd"]) == 1  # a shift of 1 mm is within FLARE22's 5 mm
    lines = targets["scores.md"].read_text().splitlines()
    assert lines[2].startswith("| liver | 2 | 0.875 ± 0.177 | 0.750 to 1.000 | 1.000 ± 0.000 |") and "mean" in lines[15]
    assert targets["scores.png"].read_bytes().startswith(b"\x89PNG")
    assert run_cli("evaluate", "masks", *folders, *options).code == 4


def test_processes_score_as_this_one_does(folders: tuple[Path, Path]) -> None:
    pairs = pair_cases(*folders)
    inline, apart = score_pairs(pairs, FLARE22), score_pairs(pairs, FLARE22, workers=1)
    assert [type(result) for result in apart] == [type(result) for result in inline]
    assert isinstance(apart[1], FailedCase) and apart == inline


def test_organs_without_a_tolerance_have_dice_alone(folders: tuple[Path, Path], run_cli, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset.json"
    dataset.write_text('{"labels": {"background": 0, "lesion": 1}}')
    pair = folders[0] / "c.nii.gz", folders[1] / "c.nii.gz"
    outcome = run_cli("evaluate", "masks", *pair, "--dataset", dataset, "--json", "--csv", tmp_path / "scores.csv")
    assert "No tolerance is known for lesion" in outcome.stderr
    assert json.loads(outcome.stdout)["nsd"] == {"mean": None, "organs": {}}
    assert (tmp_path / "scores.csv").read_text() == "case,lesion,mean\nc,0.7500,0.7500\n"
    assert run_cli("evaluate", "masks", *pair, "--dataset", dataset, "--flare22").code == 2
