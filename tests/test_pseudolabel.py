"""A round of pseudo-labelling, in the library and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from segmentation_doubles import ORGANS, SHAPE, Reader, loaded, painted_classes, painted_volume, publish_tiny

from flarekit.consensus import ModelEntry, RoundSettings, label_by_consensus, run_round
from flarekit.data.layouts import CaseFiles
from flarekit.labels import LabelSet
from flarekit.reference import ReferenceModule
from flarekit.volumes import read_labels, write_volume


def modules(*blind) -> list[ReferenceModule]:
    """One reader a model, each blind to the classes given."""
    return [ReferenceModule(loaded(Reader(blind=b), name=f"m{i}")) for i, b in enumerate(blind)]


def settings(threshold: float, models: list[ReferenceModule]) -> RoundSettings:
    entries = [ModelEntry(checkpoint=m.card.reference, weights_sha256=m.card.weights_sha256) for m in models]
    return RoundSettings(round=1, models=tuple(entries), threshold=threshold)


@pytest.fixture
def cases(tmp_path: Path) -> list[CaseFiles]:
    """Two good cases and a broken one between them."""
    folder = tmp_path / "images"
    for name in ("a", "c"):
        write_volume(folder / f"{name}.nii.gz", painted_volume())
    (folder / "b.nii.gz").write_text("not a volume")
    return [CaseFiles(name=name, image=folder / f"{name}.nii.gz") for name in "abc"]


def test_models_that_agree_give_their_common_mask_and_a_perfect_score():
    consensus = label_by_consensus(painted_volume(), modules((), (), ()))
    assert np.array_equal(consensus.classes, painted_classes())
    np.testing.assert_array_equal(consensus.agreement.dice, np.ones((3, 2)))


def test_the_one_that_differs_lowers_the_score_of_its_organ():
    # Two of three see the pea with all but certainty, the third takes it for background.
    consensus = label_by_consensus(painted_volume(), modules((), (2,), ()))
    assert np.array_equal(consensus.classes, painted_classes())
    np.testing.assert_array_equal(consensus.agreement.dice, [[1, 1], [1, 0], [1, 1]])
    assert consensus.agreement.mean == pytest.approx(5 / 6)


def test_a_round_keeps_records_and_isolates_a_bad_case(cases, tmp_path):
    models, out = modules((), ()), tmp_path / "out"
    outcomes = run_round(cases, models, out, settings(0.9, models))
    assert [(o.case, o.status) for o in outcomes] == [("a", "kept"), ("b", "failed"), ("c", "kept")]
    assert "b.nii.gz" in outcomes[1].reason
    mask = read_labels(out / "labels" / "a.nii.gz")
    assert np.array_equal(mask.array, ORGANS.to_ids(painted_classes()))
    records = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [record["case"] for record in records] == ["a", "c"]
    assert records[0]["organ_scores"]["m1@1"] == {"block": 1.0, "pea": 1.0}
    assert str(tmp_path) not in (out / "ledger.jsonl").read_text()


def test_a_rejected_case_is_recorded_and_not_written(cases, tmp_path):
    models, out = modules((), (2,), ()), tmp_path / "out"
    (outcome,) = run_round(cases[:1], models, out, settings(0.9, models))
    assert outcome.status == "rejected" and outcome.score == pytest.approx(5 / 6)
    record = json.loads((out / "ledger.jsonl").read_text())
    assert record["kept"] is False and record["mask"] is None and "below 0.9" in record["reason"]
    assert not (out / "labels").exists()


def test_a_second_run_does_only_what_is_missing(cases, tmp_path):
    models, out = modules((), ()), tmp_path / "out"
    run_round(cases, models, out, settings(0.9, models))
    ledger, seen = (out / "ledger.jsonl").read_text(), len(models[0].networks[0].seen)
    write_volume(cases[1].image, painted_volume(), overwrite=True)
    outcomes = run_round(cases, models, out, settings(0.9, models))
    assert [o.status for o in outcomes] == ["skipped", "kept", "skipped"]
    assert len(models[0].networks[0].seen) == seen + SHAPE[0]
    assert (out / "ledger.jsonl").read_text().startswith(ledger)


def test_a_mask_that_was_deleted_is_made_again(cases, tmp_path):
    models, out = modules((), ()), tmp_path / "out"
    run_round(cases[:1], models, out, settings(0.9, models))
    (out / "labels" / "a.nii.gz").unlink()
    (outcome,) = run_round(cases[:1], models, out, settings(0.9, models))
    assert outcome.status == "kept" and (out / "labels" / "a.nii.gz").exists()
    (again,) = run_round(cases[:1], models, out, settings(0.9, models))
    assert again.status == "skipped"


@pytest.fixture
def published():
    """Two tiny random models that segment the same organs."""
    return [publish_tiny(name, seed=seed).reference for seed, name in enumerate(("one", "two"))]


def test_the_command_labels_a_folder_and_goes_on_after_a_stop(published, cases, tmp_path, run_cli):
    out = tmp_path / "pseudo"
    command = ("pseudolabel", cases[0].image.parent, "--models", "one,two", "--threshold", "0", "-o", out, "--json")
    outcome = run_cli(*command)
    assert outcome.code == 7 and "1 of 3 cases failed: b" in outcome.stderr
    statuses = {case["case"]: case["status"] for case in json.loads(outcome.stdout)["cases"]}
    assert statuses["b"] == "failed" and set(statuses.values()) <= {"kept", "rejected", "failed"}
    cases[1].image.unlink()
    again = run_cli(*command)
    assert again.code == 0, again.stderr
    assert {case["status"] for case in json.loads(again.stdout)["cases"]} == {"skipped"}
    image, mask = nib.load(cases[0].image), nib.load(out / "labels" / "a.nii.gz")
    assert np.array_equal(image.affine, mask.affine) and image.shape == mask.shape


def test_a_ledger_made_otherwise_is_refused_unless_it_is_dropped(published, cases, tmp_path, run_cli):
    out = tmp_path / "pseudo"
    command = ("pseudolabel", cases[0].image, "--models", "one,two", "-o", out)
    assert run_cli(*command, "--threshold", "0.1").code == 0
    refused = run_cli(*command, "--threshold", "0.2")
    assert refused.code == 2 and "another threshold" in refused.stderr
    assert run_cli(*command, "--threshold", "0.2", "--overwrite").code == 0
    assert json.loads((out / "ledger.jsonl").read_text())["threshold"] == 0.2


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--models", "one"), 2, "two different checkpoints"),
        (("--models", "one,one@1"), 2, "two different checkpoints"),
        (("--models", "one,nobody"), 5, "unknown checkpoint 'nobody'"),
        (("--models", "one,carrier"), 5, "a reference one is needed"),
        (("--models", "one,other"), 2, "other organs"),
        (("--models", "one,two", "--threshold", "1.5"), 2, "0..1, got 1.5"),
    ],
)
def test_wrong_models_and_thresholds_are_refused(published, cases, tmp_path, run_cli, options, code, said):
    publish_tiny("carrier", kind="propagation")
    publish_tiny("other", labels=LabelSet(name="x", names=("block", "bean"), ids=(4, 9)))
    outcome = run_cli("pseudolabel", cases[0].image, "-o", tmp_path / "out", *options)
    assert outcome.code == code and said in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_labels_that_no_ledger_knows_of_are_never_written_over(published, cases, tmp_path, run_cli):
    truth = tmp_path / "labels" / "a.nii.gz"
    truth.parent.mkdir()
    truth.write_text("drawn by hand")
    outcome = run_cli("pseudolabel", cases[0].image, "--models", "one,two", "--threshold", "0", "-o", tmp_path)
    assert outcome.code == 4 and "labels: exists already" in outcome.stderr
    assert truth.read_text() == "drawn by hand"


def test_an_empty_folder_is_named(published, tmp_path, run_cli):
    empty = tmp_path / "empty"
    empty.mkdir()
    outcome = run_cli("pseudolabel", empty, "--models", "one,two", "-o", tmp_path / "out")
    assert outcome.code == 3 and "empty" in outcome.stderr


def test_a_file_in_the_output_folders_place_is_found_before_any_work(published, cases, tmp_path, run_cli):
    (tmp_path / "out").write_text("not a folder")
    outcome = run_cli("pseudolabel", cases[0].image, "--models", "one,two", "-o", tmp_path / "out")
    assert outcome.code == 4 and "out" in outcome.stderr


def test_another_image_of_a_name_the_ledger_knows_is_not_taken_for_the_first(cases, tmp_path):
    models, out = modules((), ()), tmp_path / "out"
    run_round(cases[:1], models, out, settings(0.9, models))
    image = painted_volume()
    write_volume(cases[0].image, image.like(image.array + np.int16(1)), overwrite=True)
    (outcome,) = run_round(cases[:1], models, out, settings(0.9, models))
    assert outcome.status == "failed" and "another image than the 'a' in the ledger" in outcome.reason


def test_starting_anew_removes_masks_that_are_no_longer_kept_and_nothing_else(published, cases, tmp_path, run_cli):
    out = tmp_path / "pseudo"
    command = ("pseudolabel", "--models", "one,two", "-o", out)
    assert run_cli(*command, cases[0].image, "--threshold", "0").code == 0
    (out / "labels" / "notes.txt").write_text("the user's")
    assert run_cli(*command, cases[2].image, "--threshold", "0", "--overwrite").code == 0
    assert sorted(file.name for file in (out / "labels").iterdir()) == ["c.nii.gz", "notes.txt"]


def test_a_case_name_beyond_ascii_neither_splits_a_record_nor_breaks_a_cut_one(cases, tmp_path):
    models, out = modules((), ()), tmp_path / "out"
    odd = [CaseFiles(name="k\u00fc\u2028nie", image=cases[0].image)]
    run_round(odd, models, out, settings(0.9, models))
    ledger = out / "ledger.jsonl"
    whole = ledger.read_bytes()
    for size in range(len(whole) // 3, len(whole), 7):
        ledger.write_bytes(whole + whole[:size])
        assert run_round(odd, models, out, settings(0.9, models))[0].status == "skipped"
