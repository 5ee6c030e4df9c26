"""Pseudo-labels beside the truth: what is judged, what is left out, and what the command makes of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flarekit.consensus.ledger import Ledger, MemberEntry, Record, RoundSettings
from flarekit.data.layouts import LabelledOrgans
from flarekit.errors import InputError
from flarekit.evaluation.consensus import Judged, JudgedCase, TrueMasks, judge_ledgers
from flarekit.evaluation.consensus_report import report_on, to_csv
from flarekit.labels import LabelSet
from flarekit.phantom import canonical_volume
from flarekit.volumes import write_labels

LABELS = LabelSet(name="lab", names=("liver", "spleen", "aorta"), ids=(1, 2, 5))
DATASET = {"name": "lab", "labels": {"background": 0, "liver": 1, "spleen": 2, "aorta": 5}}
LIVER, SPLEEN, AORTA = 1, 2, 5
SETTINGS = RoundSettings(
    round=1,
    members=(MemberEntry(name="a@1", kind="checkpoint"), MemberEntry(name="b@1", kind="checkpoint")),
    organs=LABELS.names,
    threshold=0.6,
)


def write(path: Path, *columns: int) -> None:
    """A label map of 2 x 3 voxels a column, its ids given by column."""
    array = np.broadcast_to(np.array(columns, dtype=np.uint8), (2, 3, len(columns)))
    write_labels(path, canonical_volume(array.copy(), (2.0, 1.0, 1.5)), overwrite=True)


class Round:
    """A folder as `pseudolabel` leaves it."""

    def __init__(self, folder: Path, settings: RoundSettings = SETTINGS) -> None:
        (folder / "labels").mkdir(parents=True)
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.jsonl", settings)

    def add(self, case: str, score: float | None, *columns: int, **others: object) -> None:
        """A kept case with this score in every mode and organ, and a mask of these columns if there are any."""
        if columns:
            write(self.folder / "labels" / f"{case}.nii.gz", *columns)
        fields = {
            "case": case,
            "status": "kept" if columns else "rejected",
            "reason": "because",
            "score": score,
            "case_scores": {"dice": score, "iou": None if score is None else score / 2},
            "organ_means": {"dice": dict.fromkeys(LABELS.names, score)},
            "mask": f"labels/{case}.nii.gz" if columns else None,
        }
        self.ledger.append(Record(**fields | others))


@pytest.fixture
def truth(tmp_path: Path) -> TrueMasks:
    folder = tmp_path / "truth"
    write(folder / "one.nii.gz", LIVER, LIVER, SPLEEN, 0)
    write(folder / "two_0000.nii.gz", LIVER, 0, AORTA, AORTA)
    return TrueMasks.of(folder, LABELS)


@pytest.fixture
def easy(tmp_path: Path) -> Round:
    done = Round(tmp_path / "easy")
    done.add("one", 0.9, LIVER, 0, SPLEEN, 0)
    done.add("two", 0.4, 0, 0, 0, AORTA)
    return done


def judge(truth: TrueMasks, *rounds: Round) -> Judged:
    return judge_ledgers({done.folder.name: done.folder for done in rounds}, truth)


def test_dice_is_the_mean_over_organs_that_mask_or_truth_shows(easy: Round, truth: TrueMasks) -> None:
    one, two = judge(truth, easy).cases
    assert {name: organ.dice for name, organ in one.organs.items()} == pytest.approx({"liver": 2 / 3, "spleen": 1})
    assert (one.kind, one.case, one.kept) == ("easy", "one", True)
    assert one.dice == pytest.approx(5 / 6)
    assert {name: organ.dice for name, organ in two.organs.items()} == pytest.approx({"liver": 0, "aorta": 2 / 3})
    assert two.scores == {"dice": 0.4, "iou": 0.2}


def test_voxels_and_organs_that_the_ledger_ignores_are_not_judged(tmp_path: Path, truth: TrueMasks) -> None:
    done = Round(tmp_path / "easy")
    (done.folder / "dataset.json").write_text(json.dumps(DATASET | {"labels": DATASET["labels"] | {"ignore": 255}}))
    done.add("one", 0.9, LIVER, 255, 255, 0, ignored=("spleen",))
    (case,) = judge(truth, done).cases
    assert {name: organ.dice for name, organ in case.organs.items()} == {"liver": 1.0}


def test_masks_of_certain_voxels_alone_are_said_to_be_judged_there(tmp_path: Path, truth: TrueMasks, caplog) -> None:
    whole, certain = Round(tmp_path / "a"), Round(tmp_path / "b", replace(SETTINGS, certainty=0.8))
    for done in (whole, certain):
        done.add("one", 0.9, LIVER, 0, SPLEEN, 0)
    judge(truth, whole)
    assert not caplog.text
    judge(truth, certain)
    assert "certainty of 0.8 or more: Dice is of these voxels, scores are of all" in caplog.text


def test_organs_that_the_truth_does_not_cover_are_not_judged(easy: Round, truth: TrueMasks) -> None:
    covered = LabelledOrgans(default=(1,), by_case={"two": (1, 3)})
    one, two = judge(TrueMasks.of(truth.folder, LABELS, covered), easy).cases
    assert (set(one.organs), set(two.organs)) == ({"liver"}, {"liver", "aorta"})


def test_kinds_may_be_stored_with_another_offset(easy: Round, tmp_path: Path, truth: TrueMasks) -> None:
    shifted = Round(tmp_path / "shifted", replace(SETTINGS, hu_offset_asked="1024"))
    shifted.add("one", 0.9, LIVER, 0, SPLEEN, 0)
    plain = Round(tmp_path / "plain", replace(SETTINGS, hu_offset_asked="auto"))
    plain.add("two", 0.4, 0, 0, 0, AORTA)
    assert [case.kind for case in judge(truth, plain, shifted).cases] == ["plain", "shifted"]


def test_a_case_without_any_organ_found_is_trusted_least(tmp_path: Path, truth: TrueMasks) -> None:
    done = Round(tmp_path / "easy")
    done.add("one", None, 0, 0, 0, 0)
    (case,) = judge(truth, done).cases
    assert (case.scores["dice"], case.dice) == (0.0, 0.0)
    assert all(not organ.scores for organ in case.organs.values())


def test_cases_without_mask_or_truth_or_on_another_grid_are_left_out(easy: Round, truth: TrueMasks) -> None:
    easy.add("three", 0.5, LIVER, 0, 0, 0)
    easy.add("one", 0.2)
    easy.add("two", 0.3, LIVER, 0, 0, 0, 0)
    write(truth.folder / "four.nii.gz", LIVER, 0)
    easy.add("four", 0.9, LIVER, 0)
    judged = judge(TrueMasks.of(truth.folder, LABELS), easy)
    assert [case.case for case in judged.cases] == ["four"]
    assert "--write-rejected" in judged.left_out["easy/one"]
    assert "no label map called three" in judged.left_out["easy/three"]
    assert set(judged.left_out) == {"easy/one", "easy/two", "easy/three"}


def test_nothing_to_judge_is_an_error(tmp_path: Path, truth: TrueMasks) -> None:
    done = Round(tmp_path / "easy")
    done.add("one", 0.2)
    with pytest.raises(InputError, match="no case to judge.*--write-rejected"):
        judge(truth, done)


def test_ledgers_of_other_members_are_not_pooled(easy: Round, tmp_path: Path, truth: TrueMasks) -> None:
    others = (SETTINGS.members[0], MemberEntry(name="c@1", kind="checkpoint"))
    done = Round(tmp_path / "noise", RoundSettings(round=2, members=others, organs=LABELS.names, threshold=0.5))
    done.add("one", 0.5, LIVER, 0, 0, 0)
    with pytest.raises(InputError, match="another members"):
        judge(truth, easy, done)


def test_other_organs_than_the_truths_are_refused(easy: Round, truth: TrueMasks) -> None:
    other = LabelSet(name="other", names=("liver", "tumour"), ids=(1, 2))
    with pytest.raises(InputError, match="other organs"):
        judge(TrueMasks.of(truth.folder, other), easy)


def cases(*rows: tuple[str, str, float, float]) -> Judged:
    return Judged(
        mode="dice",
        cases=tuple(
            JudgedCase(kind=kind, case=case, kept=score > 0.5, scores={"dice": score}, dice=dice, organs={})
            for kind, case, score, dice in rows
        ),
    )


def test_a_report_by_hand() -> None:
    judged = cases(
        ("easy", "a", 0.9, 0.8), ("easy", "b", 0.8, 0.9), ("easy", "c", 0.7, 0.7), ("noise", "a", 0.3, 0.2),
        ("noise", "b", 0.2, 0.4), ("noise", "c", 0.1, 0.3),
    )  # fmt: skip
    report = report_on(judged, mode="dice", share=0.5)
    assert report.overall.cases == 6
    assert report.overall.dice == pytest.approx(3.3 / 6)
    assert report.overall.best.dice == pytest.approx(0.8)
    assert report.overall.best.gain.value == pytest.approx(0.8 - 3.3 / 6)
    assert report.overall.spearman is not None
    assert report.overall.spearman.value == pytest.approx(1 - 6 * (1 + 1 + 0 + 4 + 1 + 1) / (6 * 35))
    assert report.kinds["easy"].spearman is not None
    assert report.kinds["easy"].spearman.value == pytest.approx(0.5)
    assert report.kinds["noise"].spearman is not None
    assert report.kinds["noise"].spearman.value == pytest.approx(-0.5)
    assert report.kept is not None and report.kept.cases == 3
    assert [(one.cases, one.lowest, one.highest) for one in report.bins] == [(6, 0.1, 0.9)]


def test_bins_hold_five_cases_and_go_from_low_to_high() -> None:
    judged = cases(*(("easy", str(i), i / 20, (20 - i) / 20) for i in range(11)))
    low, high = report_on(judged, mode="dice", share=0.7).bins
    assert (low.cases, high.cases) == (6, 5)
    assert (low.score, low.dice) == pytest.approx((2.5 / 20, 17.5 / 20))
    assert (high.lowest, high.highest) == (0.3, 0.5)


def test_every_mode_that_all_cases_have_is_compared(easy: Round, truth: TrueMasks) -> None:
    easy.add("three", 0.5, LIVER, 0, 0, 0, case_scores={"dice": 0.5, "instability": 0.1})
    write(truth.folder / "three.nii.gz", LIVER, 0, 0, 0)
    report = report_on(judge(TrueMasks.of(truth.folder, LABELS), easy), mode="dice", share=0.7)
    assert list(report.modes) == ["dice"]
    with pytest.raises(ValueError, match="not by 'iou'"):
        report_on(judge(TrueMasks.of(truth.folder, LABELS), easy), mode="iou", share=0.7)


def test_organs_are_ranked_on_their_own_scores(easy: Round, truth: TrueMasks) -> None:
    easy.add("two", 0.4, 0, 0, 0, AORTA, organ_means={"dice": {"liver": None, "spleen": None, "aorta": 0.3}})
    report = report_on(judge(truth, easy), mode="dice", share=0.7)
    assert {organ: (q.cases, q.score) for organ, q in report.organs.items()} == {
        "liver": (1, 0.9),
        "spleen": (1, 0.9),
        "aorta": (1, 0.3),
    }
    assert report.unscored == {"liver": 1}


def test_the_csv_has_a_line_a_case_and_one_an_organ(easy: Round, truth: TrueMasks) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(judge(truth, easy)))))
    assert [(row["case"], row["organ"]) for row in rows] == [
        ("one", ""), ("one", "liver"), ("one", "spleen"), ("two", ""), ("two", "liver"), ("two", "aorta"),
    ]  # fmt: skip
    assert [rows[0][column] for column in ("true_dice", "dice", "iou")] == ["0.8333", "0.9000", "0.4500"]
    assert rows[1]["iou"] == ""


def test_the_command_writes_table_plot_and_csv(run_cli, easy: Round, truth: TrueMasks, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    outputs = (
        "--plot",
        tmp_path / "plot.png",
        "--csv",
        tmp_path / "scores.csv",
        "--dataset",
        tmp_path / "dataset.json",
    )
    outcome = run_cli("evaluate", "consensus", easy.folder, truth.folder, *outputs, "--share", 0.5)
    assert outcome.code == 0, outcome.stderr
    assert "best-scored 50%" in outcome.stdout and "spleen" in outcome.stdout and "iou" in outcome.stdout
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "scores.csv").read_text().count("\n") == 7
    again = run_cli("evaluate", "consensus", easy.folder, truth.folder, *outputs)
    assert again.code != 0 and "--overwrite" in again.stderr


def test_kinds_have_names_of_their_own_and_another_score_can_be_asked_for(
    run_cli, easy: Round, truth: TrueMasks, tmp_path: Path
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    arguments = ("--kind", f"first={easy.folder}", "--dataset", tmp_path / "dataset.json", "--score", "iou", "--json")
    result = json.loads(run_cli("evaluate", "consensus", truth.folder, *arguments).stdout)
    assert result["mode"] == "iou" and list(result["kinds"]) == ["first"]
    assert result["overall"]["score"] == pytest.approx(0.325) and result["overall"]["spearman"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no folder to evaluate"),
        (("--kind", "easy"), "names no kind"),
        (("--kind", "easy={easy}", "--kind", "easy={easy}"), "same name"),
        (("--kind", "easy={truth}"), "does not exist"),
        (("--kind", "easy={easy}", "--score", "instability"), "not every case has the score"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    run_cli, easy: Round, truth: TrueMasks, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    filled = [text.format(easy=easy.folder, truth=truth.folder) for text in arguments]
    outcome = run_cli("evaluate", "consensus", truth.folder, *filled, "--dataset", tmp_path / "dataset.json")
    assert outcome.code != 0 and message in outcome.stderr and outcome.stderr.count("\n") == 1
