"""Label maps of other people, and propagated checkpoints, as members of a consensus."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from segmentation_doubles import ORGANS, Reader, Ready, loaded, painted_classes, painted_volume, publish_tiny

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus import CheckpointSource, MaskSource, Round, common_labels, order, run_round
from flarekit.consensus.members import say_where_preprocessing_differs
from flarekit.consensus.round import CaseOutcome
from flarekit.data.layouts import CaseFiles
from flarekit.errors import CheckpointError, InputError, UsageError
from flarekit.labels import FLARE22, LabelSet, read_dataset_json
from flarekit.pipeline.member import ChainMember, ChainSource
from flarekit.reference import ReferenceModule
from flarekit.volumes import read_labels, write_labels, write_volume

OTHER = LabelSet(name="theirs", names=("pea", "bean", "block"), ids=(1, 2, 3))  # ours is block 4, pea 9


@pytest.fixture
def case(tmp_path: Path) -> CaseFiles:
    """The painted case."""
    image = tmp_path / "images" / "a.nii.gz"
    write_volume(image, painted_volume())
    return CaseFiles(name="a", image=image)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """The painted case's mask, in our ids, called after it."""
    folder = tmp_path / "theirs"
    write_labels(folder / "a.nii.gz", painted_volume().like(ORGANS.to_ids(painted_classes())))
    return folder


def reader() -> Ready:
    """A model that is right."""
    return Ready(ReferenceModule(loaded(Reader(), name="m")))


def label(case: CaseFiles, out: Path, *members, labels: LabelSet = ORGANS, **choices) -> CaseOutcome:
    plan = Round(sources=order(members), labels=labels, config=ConsensusConfig(**choices), output=out)
    return run_round([case], plan)[0]


def describe(folder: Path, labels: dict[str, int]) -> None:
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0} | labels}))


def test_finished_masks_vote_beside_a_model(case, masks, tmp_path):
    out = tmp_path / "out"
    outcome = label(case, out, reader(), MaskSource.of(str(masks)))
    assert (outcome.status, outcome.score) == ("kept", 1.0)
    record = json.loads((out / "ledger.jsonl").read_text())
    assert [member["name"] for member in record["members"]] == ["m@1", "theirs"]
    assert list(record["mask_sha256"]) == ["theirs"] and list(record["member_scores"]) == ["m@1", "theirs"]
    assert str(tmp_path) not in (out / "ledger.jsonl").read_text()


def test_organs_of_other_ids_are_matched_by_name_and_unknown_ones_are_background(case, masks, tmp_path):
    classes = painted_classes()
    theirs = np.select([classes == 1, classes == 2], [3, 1], 0).astype(np.uint8)
    theirs[0, :5, :5] = 2
    write_labels(masks / "a.nii.gz", painted_volume().like(theirs), overwrite=True)
    describe(masks, dict(zip(OTHER.names, OTHER.ids, strict=True)))
    assert label(case, tmp_path / "out", reader(), MaskSource.of(str(masks))).score == 1.0


def test_masks_that_do_not_name_every_organ_are_refused(case, masks, tmp_path):
    describe(masks, {"block": 1, "bean": 2})
    with pytest.raises(UsageError, match="'theirs' have no organ 'pea'"):
        label(case, tmp_path / "out", reader(), MaskSource.of(str(masks)))
    assert not (tmp_path / "out").exists()


def test_voxels_that_a_mask_ignores_are_left_to_the_others(case, masks, tmp_path):
    ids = ORGANS.to_ids(painted_classes())
    write_labels(masks / "a.nii.gz", painted_volume().like(np.where(ids == 9, 255, ids)), overwrite=True)
    describe(masks, {"block": 4, "pea": 9, "ignore": 255})
    outcome = label(case, tmp_path / "out", reader(), MaskSource.of(str(masks)))
    assert (outcome.status, outcome.score) == ("kept", 1.0)
    written = read_labels(tmp_path / "out" / "labels" / "a.nii.gz").array
    assert np.array_equal(written, ids)


def test_the_masks_of_another_round_are_understood_with_what_they_ignore(case, masks, tmp_path):
    first = tmp_path / "first"
    label(case, first, reader(), Ready(ReferenceModule(loaded(Reader(blind=(2,)), name="n"))), per_organ=True)
    again = MaskSource.of(f"again={first / 'labels'}")
    assert again.entry.name == "again" and again.labels.ignore_id == 255
    assert label(case, tmp_path / "out", reader(), again).score == 1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "theirs: no label map for the case 'a'"),
        (lambda path: path.write_bytes(b"no"), "a.nii.gz"),
        (
            lambda path: write_labels(path, painted_volume(slices=9).like(np.zeros((9, 40, 52), np.uint8))),
            "different shapes",
        ),
        (lambda path: nib.save(nib.Nifti1Image(np.zeros((52, 40, 12), np.uint8), np.eye(4)), path), "different grids"),
        (lambda path: write_labels(path, painted_volume().like(painted_classes())), "label ids [1]"),
        (
            lambda path: write_volume(path, painted_volume().like(painted_classes() * np.float32(0.3))),
            "not a label map",
        ),
        (lambda path: write_labels(path.with_suffix("").with_suffix(".nrrd"), painted_volume()), "two label maps"),
    ],
)
def test_masks_that_do_not_fit_fail_their_case_in_one_line(case, masks, tmp_path, spoil, said):
    path = masks / "a.nii.gz"
    if said not in ("a.nii.gz", "two label maps") and "no label map" not in said:
        path.unlink()
    spoil(path)
    out = tmp_path / "out"
    outcome = label(case, out, reader(), MaskSource.of(str(masks)))
    assert outcome.status == "failed" and said in outcome.reason and "\n" not in outcome.reason
    assert str(tmp_path) not in (out / "ledger.jsonl").read_text()


def test_another_mask_than_the_ledger_knows_is_noticed(case, masks, tmp_path):
    out = tmp_path / "out"
    label(case, out, reader(), MaskSource.of(str(masks)))
    assert label(case, out, reader(), MaskSource.of(str(masks))).status == "skipped"
    write_labels(masks / "a.nii.gz", painted_volume().like(np.zeros_like(painted_classes())), overwrite=True)
    outcome = label(case, out, reader(), MaskSource.of(str(masks)))
    assert outcome.status == "failed" and "another label map than that of 'theirs'" in outcome.reason


def test_a_mask_in_two_files_is_known_by_both(case, masks, tmp_path):
    (masks / "a.nii.gz").unlink()
    voxels = np.ascontiguousarray(ORGANS.to_ids(painted_classes())[:, ::1, ::1])
    (masks / "a.raw").write_bytes(voxels.tobytes())
    (masks / "a.mhd").write_text(
        "NDims = 3\nDimSize = 52 40 12\nElementSpacing = 2 2 4\nOffset = 0 0 0\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    )
    out = tmp_path / "out"
    assert label(case, out, reader(), MaskSource.of(str(masks))).score == 1.0
    (masks / "a.raw").write_bytes(np.zeros_like(voxels).tobytes())
    assert "another label map" in label(case, out, reader(), MaskSource.of(str(masks))).reason


def test_a_folder_is_called_by_its_name_or_by_the_one_it_is_given(masks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert MaskSource.of("theirs").entry.name == "theirs"
    assert MaskSource.of("nnunet=theirs").entry.name == "nnunet"
    odd = tmp_path / "odd=name"
    odd.mkdir()
    assert MaskSource.of(str(odd)).entry.name == "odd=name"
    with pytest.raises(UsageError, match="no name"):
        MaskSource.of("=theirs")
    for missing in ("nowhere", "x=nowhere", "theirs/a.nii.gz"):
        with pytest.raises(InputError, match="no folder of label maps"):
            MaskSource.of(missing)


def test_a_consensus_needs_two_members_of_different_names(masks):
    source = MaskSource.of(str(masks))
    for members in ([], [source], [source, MaskSource.of(str(masks))]):
        with pytest.raises(UsageError, match="two different members at least"):
            order(members)


def test_the_organs_are_the_models_else_those_stated_else_the_first_folders_else_flare22s(masks):
    undescribed = MaskSource.of(str(masks))
    assert common_labels([undescribed], None, FLARE22).names == FLARE22.names
    describe(masks, {"pea": 1, "bean": 2, "block": 3, "ignore": 4})
    described = MaskSource.of(str(masks))
    assert common_labels([described], None, FLARE22).names == OTHER.names
    assert common_labels([described], ORGANS, FLARE22).names == ORGANS.names
    assert common_labels([described, reader()], None, FLARE22).names == ORGANS.names
    with pytest.raises(UsageError, match="m@1 segments other organs than --dataset"):
        common_labels([reader()], FLARE22, FLARE22)


def test_a_propagated_checkpoint_votes_with_what_segment_makes_of_the_case(case, masks, tmp_path, run_cli):
    for name, kind in (("one", "reference"), ("two", "reference"), ("carrier", "propagation")):
        publish_tiny(name, seed=len(name), kind=kind)
    chain = ChainSource.of("one", "carrier")
    assert (chain.entry.name, chain.entry.kind) == ("one@1+carrier@1", "chain")
    votes = list(chain.open(ORGANS).votes(painted_volume(), "a", tmp_path))
    command = ("segment", case.image, "--model", "one", "--propagation-model", "carrier", "--device", "cpu", "--force")
    assert run_cli(*command, "-o", tmp_path / "mask.nii.gz").code == 0
    segmented = ORGANS.to_classes(read_labels(tmp_path / "mask.nii.gz").array)
    assert np.array_equal(np.stack([vote.classes for vote in votes]), segmented)
    assert all(vote.probabilities is None for vote in votes)


def test_other_weights_of_a_checkpoints_name_are_refused(tmp_path, monkeypatch):
    publish_tiny("one", seed=1)
    source = CheckpointSource.of("one")
    monkeypatch.setenv("FLAREKIT_HOME", str(tmp_path / "elsewhere"))
    publish_tiny("one", seed=2)
    with pytest.raises(CheckpointError, match="other weights here"):
        source.open(ORGANS)


def test_masks_alone_make_a_consensus_of_several(case, masks, tmp_path, run_cli):
    describe(masks, {"block": 4, "pea": 9})
    second = tmp_path / "second"
    blind = np.where(painted_classes() == 2, 0, painted_classes())
    write_labels(second / "a.nii.gz", painted_volume().like(ORGANS.to_ids(blind)))
    out = tmp_path / "out"
    options = ("--predictions", masks, "--predictions", f"blind={second}", "--dataset", masks / "dataset.json")
    result = run_cli("pseudolabel", case.image, *options, "--per-organ", "--combine", "majority", "-o", out, "--json")
    assert result.code == 0, result.stderr
    (outcome,) = json.loads(result.stdout)["cases"]
    assert (outcome["status"], outcome["ignored"]) == ("kept", ["pea"])
    assert read_dataset_json(out / "dataset.json").names == ORGANS.names


def test_propagated_checkpoints_that_see_the_ct_differently_are_named(caplog):
    chains = [ChainMember(module=reader().module, propagation=loaded(Reader(), kind="propagation")) for _ in range(2)]
    say_where_preprocessing_differs(chains)
    assert not caplog.text
    card = chains[1].module.card
    coarse = replace(card, name="n", preprocessing=replace(card.preprocessing, spacing_mm=2.5))
    chains[1] = replace(chains[1], module=ReferenceModule(replace(loaded(Reader()), card=coarse)))
    say_where_preprocessing_differs(chains)
    assert "n@1 was trained with another spacing_mm than m@1" in caplog.text
