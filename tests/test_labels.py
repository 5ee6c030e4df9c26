"""Organs, ids and classes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flarekit.errors import InputError, UsageError
from flarekit.labels import FLARE22, IGNORE, LabelSet, read_dataset_json

LUNGS = LabelSet(
    name="chest", names=("heart", "left lung", "right lung"), ids=(4, 300, 7), pairs=(("left lung", "right lung"),)
)


def test_flare22_has_the_challenges_thirteen_organs_in_order():
    assert FLARE22.classes == 14 and FLARE22.ids == tuple(range(1, 14))
    assert FLARE22.names[0] == "liver" and FLARE22.names[1] == "right_kidney" and FLARE22.names[12] == "left_kidney"
    assert FLARE22.class_of("Inferior vena-cava") == 6


def test_ids_become_classes_and_return():
    ids = np.array([[0, 4, 300], [7, 7, 0]])
    classes = LUNGS.to_classes(ids)
    assert classes.tolist() == [[0, 1, 2], [3, 3, 0]] and classes.dtype == np.uint8
    back = LUNGS.to_ids(classes)
    assert np.array_equal(back, ids) and back.dtype == np.uint16
    assert FLARE22.to_ids(np.array([13], dtype=np.uint8)).dtype == np.uint8


@pytest.mark.parametrize("bad", [-1, 5, 301, 70_000, 2_000_000_000])
def test_ids_that_are_not_in_the_set_are_named_with_their_file(bad):
    with pytest.raises(InputError, match=str(bad)) as caught:
        LUNGS.to_classes(np.array([0, 4, bad], dtype=np.int64), where="mask.nii.gz")
    assert "mask.nii.gz" in str(caught.value) and "dataset.json" in caught.value.remedy


def test_a_mirror_exchanges_pairs_alone():
    table = FLARE22.mirror_table()
    assert (table[2], table[13], table[7], table[8]) == (13, 2, 8, 7)
    unpaired = [c for c in range(256) if c not in (2, 13, 7, 8)]
    assert table[unpaired].tolist() == unpaired
    assert table[IGNORE] == IGNORE
    assert np.array_equal(table[table], np.arange(256))


def test_lists_of_organs_are_read_in_class_order():
    assert FLARE22.parse("spleen, Liver,spleen") == (1, 3)
    assert FLARE22.parse(None) == tuple(range(1, 14))
    with pytest.raises(UsageError, match="spleeen") as caught:
        FLARE22.parse("liver,spleeen")
    assert "gallbladder" in caught.value.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {"names": (), "ids": ()},
        {"names": ("a",), "ids": (1, 2)},
        {"names": ("a", "a"), "ids": (1, 2)},
        {"names": ("a", "b"), "ids": (1, 1)},
        {"names": ("a",), "ids": (0,)},
        {"names": ("a",), "ids": (70_000,)},
        {"names": ("a", "b"), "ids": (1, 2), "pairs": (("a", "c"),)},
        {"names": ("a", "b"), "ids": (1, 2), "pairs": (("a", "a"),)},
        {"names": ("a", "b"), "ids": (1, 2), "ignore_id": 2},
        {"names": ("a", "b"), "ids": (1, 2), "ignore_id": 0},
    ],
)
def test_sets_that_contradict_themselves_are_refused(fields):
    with pytest.raises(ValueError):
        LabelSet(name="wrong", **fields)


def test_a_set_survives_json():
    assert LabelSet.from_json(json.loads(json.dumps(LUNGS.to_json()))) == LUNGS


def test_the_same_organs_under_another_name():
    renamed = LabelSet(name="other", names=LUNGS.names, ids=LUNGS.ids, pairs=LUNGS.pairs)
    assert LUNGS.same_organs(renamed) and renamed != LUNGS
    assert not LUNGS.same_organs(FLARE22)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "heart": 4, "lung": 7},
        {"0": "background", "7": "lung", "4": "heart"},
        {"background": 0.0, "lung": 7.0, "heart": 4.0},
    ],
)
def test_both_forms_of_nnunets_labels_are_read(tmp_path, labels):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    read = read_dataset_json(tmp_path / "dataset.json")
    assert (read.names, read.ids) == (("heart", "lung"), (4, 7))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"labels": {"whole": [1, 2]}}',
        '{"labels": {"a": 1}, "pairs": [["a", "b"]]}',
        '{"labels": {"a": 1.5}}',
        '{"labels": {"a": NaN}}',
        '{"labels": {"a": Infinity}}',
        '{"labels": {"a": 1, "ignore": 1}}',
    ],
)
def test_a_description_that_cannot_be_used_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match="dataset.json"):
        read_dataset_json(tmp_path / "dataset.json")


@pytest.mark.parametrize("labels", [{"heart": 4, "lung": 7, "ignore": 9}, {"4": "heart", "7": "lung", "9": "ignore"}])
def test_the_ignore_label_is_no_organ_and_its_voxels_are_of_no_class(tmp_path, labels):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    read = read_dataset_json(tmp_path / "dataset.json")
    assert (read.names, read.ids, read.ignore_id) == (("heart", "lung"), (4, 7), 9)
    assert read.to_classes(np.array([0, 4, 9, 7], dtype=np.uint16)).tolist() == [0, 1, IGNORE, 2]
    assert LabelSet.from_json(json.loads(json.dumps(read.to_json()))) == read
    with pytest.raises(InputError, match=r"\[8, 10\]"):
        read.to_classes(np.array([0, 10, 8, 9]))


def test_a_missing_description_is_named(tmp_path):
    with pytest.raises(InputError, match="dataset.json") as caught:
        read_dataset_json(tmp_path / "dataset.json")
    assert "path" in caught.value.remedy
