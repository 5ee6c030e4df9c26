"""A round of pseudo-labelling, in the library and from the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from segmentation_doubles import ORGANS, SHAPE, Reader, Ready, loaded, painted_classes, painted_volume, publish_tiny

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus import MaskSource, Round, order, run_round
from flarekit.consensus.round import CaseOutcome
from flarekit.data.layouts import CaseFiles
from flarekit.labels import IGNORE, LabelSet, read_dataset_json
from flarekit.reference import ReferenceModule
from flarekit.volumes import read_labels, write_volume


def readers(*blind) -> list[Ready]:
    """One reader a member, each blind to the classes given."""
    return [Ready(ReferenceModule(loaded(Reader(blind=b), name=f"m{i}"))) for i, b in enumerate(blind)]


def plan(out: Path, members: list, **choices) -> Round:
    return Round(sources=order(members), labels=ORGANS, config=ConsensusConfig(**choices), output=out)


def run(cases: list[CaseFiles], out: Path, members: list, **choices) -> list[CaseOutcome]:
    return run_round(cases, plan(out, members, **choices))


def records(out: Path) -> dict[str, dict]:
    return {record["case"]: record for record in map(json.loads, (out / "ledger.jsonl").read_text().splitlines())}


@pytest.fixture
def cases(tmp_path: Path) -> list[CaseFiles]:
    """Two good cases and a broken one between them."""
    folder = tmp_path / "images"
    for name in ("a", "c"):
        write_volume(folder / f"{name}.nii.gz", painted_volume())
    (folder / "b.nii.gz").write_text("not a volume")
    return [CaseFiles(name=name, image=folder / f"{name}.nii.gz") for name in "abc"]


def test_members_that_agree_give_their_common_mask_and_a_perfect_score(cases, tmp_path):
    out = tmp_path / "out"
    (outcome,) = run(cases[:1], out, readers((), (), ()))
    assert (outcome.status, outcome.score) == ("kept", 1.0)
    mask = read_labels(out / "labels" / "a.nii.gz")
    assert np.array_equal(mask.array, ORGANS.to_ids(painted_classes()))
    assert records(out)["a"]["case_scores"] == {"dice": 1.0, "leave-one-out": 1.0, "iou": 1.0}


def test_the_one_that_differs_lowers_the_score_of_its_organ(cases, tmp_path):
    # Two of three see the pea with all but certainty, the third takes it for background.
    out = tmp_path / "out"
    (outcome,) = run(cases[:1], out, readers((), (2,), ()))
    assert (outcome.status, outcome.score) == ("rejected", pytest.approx(5 / 6))
    record = records(out)["a"]
    assert record["organ_scores"]["m1@1"] == {"block": 1.0, "pea": 0.0}
    assert record["organ_means"]["dice"] == {"block": 1.0, "pea": pytest.approx(2 / 3)}
    # Without itself, each of the two that see the pea is left with one that does and one that does not: a tie, which
    # background wins.
    assert record["case_scores"]["leave-one-out"] == pytest.approx(3 / 6)


def test_a_round_keeps_records_and_isolates_a_bad_case(cases, tmp_path):
    out = tmp_path / "out"
    outcomes = run(cases, out, readers((), ()))
    assert [(o.case, o.status) for o in outcomes] == [("a", "kept"), ("b", "failed"), ("c", "kept")]
    found = records(out)
    assert list(found) == ["a", "b", "c"]
    assert found["b"]["status"] == "failed" and found["b"]["reason"].startswith("b.nii.gz: ")
    assert str(tmp_path) not in (out / "ledger.jsonl").read_text()
    rows = list(csv.DictReader((out / "ledger.csv").read_text().splitlines()))
    assert [(row["case"], row["status"]) for row in rows] == [("a", "kept"), ("b", "failed"), ("c", "kept")]
    assert read_dataset_json(out / "dataset.json").ids == ORGANS.ids


def test_a_case_that_one_member_cannot_label_is_recorded_and_the_others_are_labelled(cases, tmp_path):
    members, out = readers((), ()), tmp_path / "out"
    network = members[1].module.networks[0]
    write_volume(cases[2].image, painted_volume(slices=9), overwrite=True)
    network.fails_at = 1 / 8  # a slice's position that only the case of 9 slices has
    outcomes = run([cases[0], cases[2]], out, members)
    assert [(o.case, o.status) for o in outcomes] == [("a", "kept"), ("c", "failed")]
    assert "m1@1 fails on it (no kernel for this slice)" in records(out)["c"]["reason"]


def test_a_rejected_case_is_recorded_and_written_only_where_that_is_asked_for(cases, tmp_path):
    members, out = readers((), (2,), ()), tmp_path / "out"
    (outcome,) = run(cases[:1], out, members)
    assert outcome.status == "rejected" and "below 0.9" in outcome.reason
    assert records(out)["a"]["mask"] is None and not (out / "labels").exists()
    (again,) = run(cases[:1], out, members, write_rejected=True)
    assert again.status == "rejected" and records(out)["a"]["mask"] == "rejected/a.nii.gz"
    assert np.array_equal(read_labels(out / "rejected" / "a.nii.gz").array, ORGANS.to_ids(painted_classes()))
    assert not (out / "labels").exists()


def test_an_untrusted_organ_is_ignored_and_the_rest_of_the_case_kept(cases, tmp_path):
    out = tmp_path / "out"
    (outcome,) = run(cases[:1], out, readers((), (2,), ()), per_organ=True)
    assert (outcome.status, outcome.ignored) == ("kept", ("pea",))
    assert "1 of 2 organs reach 0.9; ignored: pea 0.667" in outcome.reason
    stated = read_dataset_json(out / "dataset.json")
    assert stated.ignore_id == 255
    classes = stated.to_classes(read_labels(out / "labels" / "a.nii.gz").array)
    assert np.array_equal(classes, np.where(painted_classes() == 2, IGNORE, painted_classes()))


def test_an_organ_that_only_one_member_sees_is_ignored_where_it_sees_it(cases, tmp_path):
    out = tmp_path / "out"
    (outcome,) = run(cases[:1], out, readers((2,), (2,), ()), per_organ=True)
    assert outcome.ignored == ("pea",)
    ids = read_labels(out / "labels" / "a.nii.gz").array
    assert np.array_equal(ids == 255, painted_classes() == 2)


def test_voxels_that_members_are_not_certain_of_are_ignored_and_scored_all_the_same(cases, tmp_path):
    members, out, all_of_it = readers((), (2,), ()), tmp_path / "out", tmp_path / "all"
    run(cases[:1], out, members, threshold=0.8, certainty=0.75)  # the pea has 2 / 3
    ids = read_labels(out / "labels" / "a.nii.gz").array
    assert np.array_equal(ids == 255, painted_classes() == 2)
    assert np.array_equal(ids == ORGANS.ids[0], painted_classes() == 1)
    run(cases[:1], all_of_it, members, threshold=0.8)
    assert records(out)["a"]["certainty"] == 0.75 and records(all_of_it)["a"]["certainty"] == 0.0
    assert records(out)["a"]["case_scores"] == records(all_of_it)["a"]["case_scores"]


def test_a_case_with_no_voxel_of_an_organ_that_is_certain_is_rejected(cases, tmp_path):
    members, out = readers((1,), (1,), (), (2,)), tmp_path / "out"
    (outcome,) = run(cases[:1], out, members, threshold=0.0, certainty=0.9, write_rejected=True)
    assert outcome.status == "rejected"
    assert outcome.reason == "no voxel of an organ is as certain as 0.9"
    assert set(np.unique(read_labels(out / "rejected" / "a.nii.gz").array)) == {0, 255}


def test_uncertainty_is_high_where_members_differ_and_nowhere_else(cases, tmp_path):
    out = tmp_path / "out"
    run(cases[:1], out, readers((), (2,)), uncertainty=True, threshold=0.0)
    assert records(out)["a"]["uncertainty"] == "uncertainty/a.nii.gz"
    image = nib.load(out / "uncertainty" / "a.nii.gz")
    assert np.array_equal(image.affine, nib.load(cases[0].image).affine)
    values = painted_volume().like(np.zeros(SHAPE)).source.reorientation.to_canonical(image.get_fdata())
    # Two of three classes alike: ln 2 / ln 3.
    np.testing.assert_allclose(values[painted_classes() == 2], np.log(2) / np.log(3), atol=0.01)
    assert values[painted_classes() != 2].max() < 0.05


def test_a_second_run_does_only_what_is_missing_and_what_failed(cases, tmp_path):
    members, out = readers((), ()), tmp_path / "out"
    run(cases, out, members)
    ledger, seen = (out / "ledger.jsonl").read_text(), len(members[0].module.networks[0].seen)
    write_volume(cases[1].image, painted_volume(), overwrite=True)
    assert [o.status for o in run(cases, out, members)] == ["skipped", "kept", "skipped"]
    assert len(members[0].module.networks[0].seen) == seen + SHAPE[0]
    assert (out / "ledger.jsonl").read_text().startswith(ledger)


def test_a_file_that_was_deleted_or_is_asked_for_later_is_made(cases, tmp_path):
    members, out = readers((), ()), tmp_path / "out"
    run(cases[:1], out, members)
    (out / "labels" / "a.nii.gz").unlink()
    assert run(cases[:1], out, members)[0].status == "kept" and (out / "labels" / "a.nii.gz").exists()
    assert run(cases[:1], out, members, uncertainty=True)[0].status == "kept"
    assert (out / "uncertainty" / "a.nii.gz").exists()
    assert run(cases[:1], out, members, uncertainty=True)[0].status == "skipped"


def test_the_order_of_the_members_changes_nothing(cases, tmp_path):
    members, out = readers((), (1,), (2,)), tmp_path / "out"
    run(cases[:1], out, members, threshold=0.0)
    ledger = (out / "ledger.jsonl").read_bytes()
    assert run(cases[:1], out, members[::-1], threshold=0.0)[0].status == "skipped"
    assert (out / "ledger.jsonl").read_bytes() == ledger


def test_instability_compares_with_the_round_before(cases, tmp_path):
    before, out = tmp_path / "before", tmp_path / "out"
    run(cases[:1], before, readers((), ()))
    previous = MaskSource.of_round(before)
    changed = plan(out, readers((2,), (2,)), score="instability", threshold=0.98)
    outcomes = run_round([cases[0], cases[2]], replace(changed, previous=previous))
    assert [o.status for o in outcomes] == ["rejected", "rejected"]
    pea, block = (painted_classes() == 2).sum(), (painted_classes() == 1).sum()
    assert outcomes[0].score == pytest.approx(1 - pea / block)
    assert "previous round has no mask" in outcomes[1].reason and outcomes[1].score is None
    assert records(out)["a"]["organ_scores"] == {"before": {"block": 1.0, "pea": 0.0}}
    assert records(out)["a"]["case_scores"]["dice"] == 1.0


@pytest.fixture
def published():
    """Two tiny random models that segment the same organs."""
    return [publish_tiny(name, seed=seed).reference for name, seed in (("one", 5), ("two", 10))]


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
        (("--models", "one"), 2, "two different members"),
        (("--models", "one,one@1"), 2, "two different members"),
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


@pytest.mark.parametrize("name", ["labels/a.nii.gz", "rejected/a.nii.gz", "dataset.json", "ledger.csv"])
def test_files_that_no_ledger_knows_of_are_never_written_over(published, cases, tmp_path, run_cli, name):
    truth = tmp_path / "out" / name
    truth.parent.mkdir(parents=True)
    truth.write_text("made by hand")
    outcome = run_cli("pseudolabel", cases[0].image, "--models", "one,two", "--threshold", "0", "-o", tmp_path / "out")
    assert outcome.code == 4 and f"{name.split('/')[0]}: exists already" in outcome.stderr
    assert truth.read_text() == "made by hand"


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
    members, out = readers((), ()), tmp_path / "out"
    run(cases[:1], out, members)
    image = painted_volume()
    write_volume(cases[0].image, image.like(image.array + np.int16(1)), overwrite=True)
    (outcome,) = run(cases[:1], out, members)
    assert outcome.status == "failed" and "another image than the 'a' in the ledger" in outcome.reason
    assert records(out)["a"]["status"] == "kept", "what was finished is not forgotten"


def test_starting_anew_removes_masks_that_are_no_longer_kept_and_nothing_else(published, cases, tmp_path, run_cli):
    out = tmp_path / "pseudo"
    command = ("pseudolabel", "--models", "one,two", "-o", out)
    assert run_cli(*command, cases[0].image, "--threshold", "0").code == 0
    (out / "labels" / "notes.txt").write_text("the user's")
    assert run_cli(*command, cases[2].image, "--threshold", "0", "--overwrite").code == 0
    assert sorted(file.name for file in (out / "labels").iterdir()) == ["c.nii.gz", "notes.txt"]


def test_a_case_name_beyond_ascii_neither_splits_a_record_nor_breaks_a_cut_one(cases, tmp_path):
    members, out = readers((), ()), tmp_path / "out"
    odd = [CaseFiles(name="k\u00fc\u2028nie", image=cases[0].image)]
    run(odd, out, members)
    ledger = out / "ledger.jsonl"
    whole = ledger.read_bytes()
    for size in range(len(whole) // 3, len(whole), 41):
        ledger.write_bytes(whole + whole[:size])
        assert run(odd, out, members)[0].status == "skipped"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--combine", "mean"), 2, "combine is one of probabilities, majority, got 'mean'"),
        (("--score", "hausdorff"), 2, "score is one of dice"),
        (("--layout", "bids"), 2, "layout is one of plain, nnunet"),
        (("--threshold", "nan"), 2, "0..1, got nan"),
        (("--score", "instability"), 2, "compares with --previous"),
        (("--previous", "nowhere"), 3, "nowhere"),
        (("--predictions", "nowhere"), 3, "no folder of label maps"),
        (("--propagation-model", "two"), 5, "a propagation one is needed"),
        (("--series", "1"), 7, "is not DICOM"),
        (("--workers", "2", "--scheduler", "nonsense"), 2, "not the address of a scheduler"),
    ],
)
def test_wrong_options_end_in_one_line(published, cases, tmp_path, run_cli, options, code, said):
    outcome = run_cli("pseudolabel", cases[0].image, "--models", "one,two", "-o", tmp_path / "out", *options, "--json")
    assert outcome.code == code and said in outcome.stderr + outcome.stdout
    assert outcome.stderr.count("\n") == 1


def test_another_hu_offset_is_noticed_when_a_run_is_gone_on_with(published, cases, tmp_path, run_cli):
    command = ("pseudolabel", cases[0].image, "--models", "one,two", "--threshold", "0", "-o", tmp_path / "out")
    assert run_cli(*command).code == 0
    refused = run_cli(*command, "--hu-offset", "1024")
    assert refused.code == 2 and "another hu_offset_asked" in refused.stderr


def test_models_that_see_the_ct_differently_vote_on_its_own_pixels(cases, tmp_path, caplog):
    members, out = readers((), ()), tmp_path / "out"
    card = members[1].module.card
    coarse = replace(card, preprocessing=replace(card.preprocessing, spacing_mm=2.5))
    members[1] = Ready(ReferenceModule(replace(loaded(Reader(), name="m1"), card=coarse)))
    (outcome,) = run(cases[:1], out, members, threshold=0.5)
    assert outcome.status == "kept" and 0.8 < outcome.score < 1
    assert "m1@1 was trained with another spacing_mm than m0@1" in caplog.text
    assert read_labels(out / "labels" / "a.nii.gz").array.shape == SHAPE
