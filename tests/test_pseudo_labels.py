"""Pseudo-labels as training reads them: laid over stored cases, which are not altered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny_networks
import torch
from pseudo_label_folders import write_pseudo_labels
from training_setup import CPS, STCN, SUPERVISED, Workplace, workplace
from training_stores import ORGANS, SHAPES, blobs, write_store

from flarekit.checkpoints import Card, Provenance, Registry
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.config.run import Stores
from flarekit.config.training import CPSConfig
from flarekit.consensus.ledger import MemberEntry
from flarekit.data.datasets import ALL
from flarekit.data.network_case import NetworkCase
from flarekit.data.overlay import Overlay, write_overlay
from flarekit.data.store import SliceStore
from flarekit.errors import InputError, UsageError
from flarekit.files import sha256
from flarekit.labels import IGNORE
from flarekit.models import build
from flarekit.training import pseudo_labels
from flarekit.training.data import TrainingData, gather
from flarekit.training.runs import train as run_training
from flarekit.training.tasks import training_of

__all__ = ["workplace"]

NATIVE = PreprocessingConfig(canvas=32)
NAMES = ("case10", "case11", "case12")  # of the store `unlabelled`


def masks(*, organ: int = 1) -> dict[str, np.ndarray]:
    """Ids for each case of the store `unlabelled`: an organ in a corner of slice 3, and beside it a doubtful bit."""
    found = {}
    for name, shape in zip(NAMES, SHAPES, strict=True):
        classes = np.zeros(shape, dtype=np.uint8)
        classes[3, 5:9, 7:18], classes[3, 20:22, 7:18] = organ, IGNORE
        found[name] = np.where(classes == 3, 5, classes).astype(np.uint8)  # class 3 has the id 5
    return found


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """A folder with the stores `labelled`, `unlabelled` and `validation`."""
    write_store(tmp_path / "labelled")
    write_store(tmp_path / "unlabelled", labelled=None, seed=1)
    write_store(tmp_path / "validation", [(8, 58, 62)], seed=2)
    return tmp_path


def gathered(folder: Path, *pseudo: Path) -> TrainingData:
    named = Stores(
        labelled=(folder / "labelled",),
        unlabelled=(folder / "unlabelled",),
        validation=folder / "validation",
        pseudo_labels=pseudo,
    )
    return gather(named, NATIVE, seed=0)


def train(workplace: Workplace, config: object, *, resume: bool = False, **changes: object) -> Card:
    settings = workplace.settings("run", **changes)
    pseudo = (workplace.folder / "pseudo",)
    settings = replace(settings, stores=replace(settings.stores, pseudo_labels=pseudo))
    return run_training(settings, config, Registry.default(), resume=resume)


def test_a_kept_mask_makes_its_case_a_labelled_one(stores: Path) -> None:
    given = masks(organ=3) | {"case11": None}
    data = gathered(stores, write_pseudo_labels(stores / "pseudo", stores / "unlabelled", given))
    assert [case.name for case in data.labelled] == ["case00", "case01", "case02", "case10", "case12"]
    assert [case.name for case in data.unlabelled] == list(NAMES)
    case = data.labelled[-2]
    assert case.organs == (3,) and case.label_voxels[3].tolist() == [60 * 70 - 44 - 22, 0, 0, 44]
    classes = case.classes([3, 4])
    assert (classes[0] == 3).sum() == 44 and (classes[0] == IGNORE).sum() == 22
    assert case.store.case("case10").label_voxels is None


def test_cases_with_pseudo_labels_may_stand_apart_from_those_with_true_ones(stores: Path) -> None:
    data = gathered(stores, write_pseudo_labels(stores / "pseudo", stores / "unlabelled", masks()))
    true, pseudo = data.by_trust()
    assert [case.name for case in true] == ["case00", "case01", "case02"]
    assert [case.name for case in pseudo] == list(NAMES)
    networks = {"transunet": torch.nn.Identity(), "deeplabv3plus": torch.nn.Identity()}
    apart = training_of(CPSConfig(crop=32, pseudo_batch=1)).make_task(networks, data, ALL).batches
    assert len(apart.labelled) == 3 and len(apart.pseudo) == 3 and len(apart[0].images) == 3
    joined = training_of(CPSConfig(crop=32)).make_task(networks, data, ALL).batches
    assert len(joined.labelled) == 6 and len(joined[0].images) == 2


def test_a_mask_without_any_organ_teaches_nothing(stores: Path) -> None:
    given = masks() | {"case11": np.full(SHAPES[1], IGNORE, dtype=np.uint8)}
    data = gathered(stores, write_pseudo_labels(stores / "pseudo", stores / "unlabelled", given))
    assert [case.name for case in data.labelled[3:]] == ["case10", "case12"]


def test_stores_are_not_altered(stores: Path) -> None:
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", masks())
    before = {file: sha256(file) for file in (stores / "unlabelled").iterdir()}
    gathered(stores, folder)
    assert {file: sha256(file) for file in (stores / "unlabelled").iterdir()} == before


def test_masks_are_read_once_and_again_when_they_have_changed(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", masks())
    first = gathered(stores, folder)
    made: list[str] = []

    def counting(path: Path, *arguments: object) -> Overlay:
        made.append(path.stem)
        return write_overlay(path, *arguments)

    monkeypatch.setattr(pseudo_labels, "write_overlay", counting)
    assert gathered(stores, folder).fingerprint() == first.fingerprint() and made == []
    (folder / "labels" / "case10.nii.gz").write_bytes((folder / "labels" / "case11.nii.gz").read_bytes())
    with pytest.raises(InputError, match="different shapes"):
        gathered(stores, folder)
    assert made == ["case10"]


def test_where_the_masks_themselves_are_not_the_overlay_will_do(stores: Path) -> None:
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", masks())
    first = gathered(stores, folder)
    for mask in (folder / "labels").iterdir():
        mask.unlink()
    again = gathered(stores, folder)
    assert again.fingerprint() == first.fingerprint()
    assert torch.equal(again.labelled[-1].classes([3]), first.labelled[-1].classes([3]))


def test_an_overlay_of_another_case_is_refused_where_the_masks_are_not(stores: Path) -> None:
    write_store(stores / "more", [SHAPES[0]] * 2, labelled=None, seed=3)
    given = {"case30": masks(organ=1)["case10"], "case31": masks(organ=2)["case10"]}
    folder = write_pseudo_labels(stores / "pseudo", stores / "more", given)
    named = Stores(labelled=(stores / "labelled",), unlabelled=(stores / "more",), pseudo_labels=(folder,))
    first = gather(named, NATIVE, seed=0)
    (folder / "overlay" / "case31.h5").write_bytes((folder / "overlay" / "case30.h5").read_bytes())
    assert gather(named, NATIVE, seed=0).fingerprint() == first.fingerprint()  # made again from its mask
    (folder / "overlay" / "case31.h5").write_bytes((folder / "overlay" / "case30.h5").read_bytes())
    (folder / "labels" / "case31.nii.gz").unlink()
    with pytest.raises(InputError, match=r"case31\.h5: is the overlay of another CT than 'case31'"):
        gather(named, NATIVE, seed=0)


def test_the_last_of_several_rounds_counts(stores: Path) -> None:
    first = write_pseudo_labels(stores / "first", stores / "unlabelled", masks(organ=1))
    newer = masks(organ=2)
    second = write_pseudo_labels(stores / "second", stores / "unlabelled", newer | {"case12": None}, number=2)
    data = gathered(stores, first, second)
    voxels = {case.name: case.label_voxels[3, 1:].tolist() for case in data.labelled[3:]}
    assert voxels == {"case10": [0, 44, 0], "case11": [0, 44, 0], "case12": [44, 0, 0]}
    assert [(part.labels.settings.round, len(part.cases)) for part in data.pseudo_labels] == [(1, 1), (2, 2)]


def test_a_case_of_the_same_name_in_another_store_gets_no_mask(stores: Path, tmp_path: Path) -> None:
    write_store(tmp_path / "more", labelled=None, seed=1)
    case = tmp_path / "more" / "case10.h5"
    with h5py.File(case, "r+") as file:
        file.attrs["source_sha256"] = np.bytes_("another")
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", masks())
    unlabelled = (tmp_path / "more", stores / "unlabelled")
    named = Stores(labelled=(stores / "labelled",), unlabelled=unlabelled, pseudo_labels=(folder,))
    pseudo = gather(named, NATIVE, seed=0).pseudo_labels[0].cases
    of_store = [case.name for case in pseudo if case.store.path == stores / "unlabelled"]
    assert of_store == list(NAMES) and len(pseudo) == 5  # and the two others, which both stores hold


def test_truth_wins_over_pseudo_labels_and_validation_cases_get_none(stores: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    write_store(both, seed=0)  # the very CTs of `labelled`
    given = {name: blobs(shape, np.random.default_rng(9)) for name, shape in zip(("case00",), SHAPES, strict=False)}
    folder = write_pseudo_labels(tmp_path / "pseudo", both, {k: np.where(v == 3, 5, v) for k, v in given.items()})
    named = Stores(labelled=(stores / "labelled",), unlabelled=(both,), pseudo_labels=(folder,))
    with pytest.raises(InputError, match="keeps none of the 0 unlabelled cases"):
        gather(named, NATIVE, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "of another CT"}, "'case10' was labelled on another CT"),
        ({"ids": {"case10": None}}, "keeps no case"),
        ({"ids": {"case10": np.full(SHAPES[0], 7, dtype=np.uint8)}}, r"holds label ids \[7\]"),
        ({"ids": {"case11": masks()["case11"]}, "as_case": "case10"}, "different shapes"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(stores: Path, change: dict, message: str) -> None:
    ids = change.get("ids", {"case10": masks()["case10"]})
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", ids, sha256=change.get("sha256"))
    if other := change.get("as_case"):
        record = json.loads((folder / "ledger.jsonl").read_text())
        record |= {"case": other, "image_sha256": "1-0"}
        (folder / "ledger.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match=message) as caught:
        gathered(stores, folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_ledger_and_one_of_other_cases_are_refused(stores: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no ledger\.jsonl"):
        gathered(stores, tmp_path)
    write_store(tmp_path / "other", seed=7, labelled=None)
    folder = write_pseudo_labels(tmp_path / "pseudo", tmp_path / "other", {"case70": masks()["case10"]})
    with pytest.raises(InputError, match="keeps none of the 3 unlabelled cases"):
        gathered(stores, folder)


def test_a_dataset_json_beside_the_masks_says_what_their_ids_mean(stores: Path) -> None:
    ids = {"case10": np.where(masks()["case10"] == IGNORE, 4, masks()["case10"])}
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", ids)
    labels = {"background": 0, "left_blob": 1, "right_blob": 2, "bar": 3, "ignore": 4}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    case = gathered(stores, folder).labelled[-1]
    assert (case.overlay.labels_at([3]) == IGNORE).sum() == 22


def test_labels_of_other_organs_are_refused(stores: Path, tmp_path: Path) -> None:
    folder = write_pseudo_labels(tmp_path / "pseudo", stores / "unlabelled", {"case10": masks()["case10"]})
    record = json.loads((folder / "ledger.jsonl").read_text()) | {"organs": ["liver", "spleen", "bar"]}
    (folder / "ledger.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="is of other organs than the stores have"):
        gathered(stores, folder)


def test_a_damaged_overlay_is_named(stores: Path) -> None:
    folder = write_pseudo_labels(stores / "pseudo", stores / "unlabelled", masks())
    gathered(stores, folder)
    damaged = folder / "overlay" / "case10.h5"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(InputError, match=r"case10\.h5: is not a label overlay"):
        gathered(stores, folder)
    with h5py.File(damaged, "w") as file:
        file.attrs["overlay_format"] = "another"
    with pytest.raises(InputError, match="unknown format another version 0"):
        Overlay(damaged)


def test_an_overlay_of_oblique_axes_is_cut_like_its_case(tmp_path: Path, stores: Path) -> None:
    opened = SliceStore.open(stores / "unlabelled")
    case = opened.case("case11")
    mask = write_pseudo_labels(tmp_path / "p", stores / "unlabelled", {"case11": masks()["case11"]})
    overlay = write_overlay(tmp_path / "x.h5", mask / "labels" / "case11.nii.gz", case, replace(ORGANS, ignore_id=255))
    whole = NetworkCase(opened, "case11", NATIVE, overlay=overlay)
    assert np.array_equal(overlay.labels_at(range(case.depth)), masks()["case11"])
    assert whole.looked_for().tolist() == [True, True, False, False]


@pytest.mark.parametrize("config", [CPS, SUPERVISED, STCN])
def test_every_training_learns_from_them_and_says_so(workplace: Workplace, config: object) -> None:
    folder = write_pseudo_labels(workplace.folder / "pseudo", workplace.folder / "unlabelled", masks(), number=4)
    card = train(workplace, config)
    found = card.training["found"]
    assert (found["labelled_cases"], found["pseudo_labels"]["cases"], found["pseudo_labels"]["rounds"]) == (6, [3], [4])
    assert found["pseudo_labels"]["ledgers_sha256"] == [sha256(folder / "ledger.jsonl")]
    assert card.training["stores"]["pseudo_labels"] == ["pseudo"]
    assert card.parents == ("one@1", "two@1")
    assert card.provenance.pretrained_or_extra_data and "labels by one@1" in card.provenance.data[0]


def publish(name: str, provenance: Provenance) -> str:
    """A tiny checkpoint that saw these data; NAME@VERSION comes back."""
    networks = {"stcn": tiny_networks.STCN}
    card = Card(
        kind="propagation",
        name=name,
        networks=networks,
        preprocessing=NATIVE,
        labels=ORGANS,
        provenance=provenance,
    )
    return Registry.default().publish(card, {key: build(config) for key, config in networks.items()}).reference


def test_what_the_teachers_saw_is_what_the_student_saw(workplace: Workplace) -> None:
    publish("one", Provenance(data=("CHAOS",)))
    publish("two", Provenance(data=("AMOS",)))
    write_pseudo_labels(workplace.folder / "pseudo", workplace.folder / "unlabelled", masks())
    card = train(workplace, SUPERVISED, challenge=True)
    assert not card.provenance.pretrained_or_extra_data
    assert card.provenance.data == ("CHAOS", "AMOS", "labelled", "unlabelled", "validation")


def test_chains_have_two_teachers_and_masks_from_elsewhere_none(workplace: Workplace) -> None:
    publish("one", Provenance(data=("CHAOS",)))
    members = (MemberEntry(name="nnunet", kind="masks"), MemberEntry(name="one@1+two@3", kind="chain"))
    write_pseudo_labels(workplace.folder / "pseudo", workplace.folder / "unlabelled", masks(), members=members)
    card = train(workplace, SUPERVISED)
    assert card.parents == ("one@1", "two@3")
    assert card.provenance.data[:3] == (
        "CHAOS",
        "labels by two@3, of which nothing is known",
        "labels by nnunet, of which nothing is known",
    )
    assert card.training["found"]["pseudo_labels"]["members"] == ["nnunet", "one@1+two@3"]


def test_a_challenge_refuses_labels_of_unknown_models(workplace: Workplace) -> None:
    write_pseudo_labels(workplace.folder / "pseudo", workplace.folder / "unlabelled", masks())
    with pytest.raises(UsageError, match="--challenge refuses pseudo-labels .*labels by one@1"):
        train(workplace, SUPERVISED, challenge=True)


def test_a_run_is_not_resumed_on_other_pseudo_labels(workplace: Workplace) -> None:
    folder = write_pseudo_labels(workplace.folder / "pseudo", workplace.folder / "unlabelled", masks())
    train(workplace, SUPERVISED)
    assert train(workplace, SUPERVISED, resume=True).reference == "run@1"
    (folder / "ledger.jsonl").unlink()
    (folder / "labels" / "case10.nii.gz").unlink()
    write_pseudo_labels(folder, workplace.folder / "unlabelled", {"case10": masks(organ=2)["case10"]})
    with pytest.raises(UsageError, match="found.pseudo_labels.cases was"):
        train(workplace, SUPERVISED, resume=True)


def test_the_commands_take_pseudo_labels(workplace: Workplace, run_cli) -> None:
    stores = [
        part for role in ("labelled", "unlabelled", "validation") for part in (f"--{role}", workplace.folder / role)
    ]
    small = [
        "--arch",
        "tiny",
        "--iterations",
        "1",
        "--crop",
        "32",
        "--device",
        "cpu",
        "--runs",
        workplace.folder / "runs",
    ]
    folder = write_pseudo_labels(workplace.folder / "pseudo", workplace.folder / "unlabelled", masks())
    prepared = run_cli("store", "overlay", workplace.folder / "unlabelled", folder, "--json")
    assert json.loads(prepared.stdout) == {"overlay": str(folder / "overlay"), "cases": 3}
    for mask in (folder / "labels").iterdir():
        mask.unlink()
    outcome = run_cli("train", "stcn", "--name", "run", *stores, *small, "--clips", "1", "--pseudo-labels", folder)
    assert outcome.code == 0, outcome.stderr
    assert "3 labelled, 3 pseudo-labelled, 3 unlabelled, 1 validation cases" in outcome.stderr
    missing = run_cli("train", "cps", "--name", "other", *stores, *small, "--pseudo-labels", workplace.folder)
    assert missing.code == 3 and "holds no ledger.jsonl" in missing.stderr
