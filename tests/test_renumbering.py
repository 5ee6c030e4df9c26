"""Label maps with other ids, and with some of the organs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flarekit.errors import InputError, UsageError
from flarekit.labels import FLARE22, LabelSet
from flarekit.renumbering import TOTALSEGMENTATOR, WrittenLabels

TWO = LabelSet(name="two", names=("block", "pea"), ids=(4, 9))


def test_without_wishes_a_model_writes_its_own_ids():
    written = WrittenLabels.of(TWO)
    assert written.to_ids(np.array([0, 1, 2], dtype=np.uint8)).tolist() == [0, 4, 9]
    assert written.names == {4: "block", 9: "pea"}


def test_totalsegmentators_ids_name_every_organ_of_flare22():
    assert set(TOTALSEGMENTATOR) == set(FLARE22.names)
    written = WrittenLabels.of(FLARE22, label_map="totalsegmentator")
    liver, aorta = FLARE22.class_of("liver"), FLARE22.class_of("aorta")
    assert written.to_ids(np.array([liver, aorta], dtype=np.uint8)).tolist() == [5, 52]


def test_organs_that_are_not_asked_for_become_background():
    written = WrittenLabels.of(TWO, organs="pea")
    classes = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    assert written.only(classes).tolist() == [[0, 0], [2, 0]]
    assert written.to_ids(classes).tolist() == [[0, 0], [9, 0]] and written.names == {9: "pea"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.toml", "block = 300\nPea = 2\n"),
        ("ids.json", json.dumps({"block": 300, "pea": 2})),
        ("dataset.json", json.dumps({"labels": {"background": 0, "block": 300, "pea": 2}})),
    ],
)
def test_a_file_of_names_and_ids_renumbers(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    ids = WrittenLabels.of(TWO, label_map=str(tmp_path / name)).to_ids(np.array([1, 2], dtype=np.uint8))
    assert ids.tolist() == [300, 2] and ids.dtype == np.uint16


@pytest.mark.parametrize(
    "text", ["block = 0", "block = 1.5", "block = true", "block = 1\npea = 1", "block = 70000", "", "]"]
)
def test_a_file_that_makes_no_sense_is_refused_by_what_is_wrong(tmp_path, text):
    (tmp_path / "ids.toml").write_text(text)
    with pytest.raises(InputError, match="ids.toml") as caught:
        WrittenLabels.of(TWO, label_map=str(tmp_path / "ids.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"block": 1, "Block": 2, "pea": 3}', '{"block": 1, "block": 2, "pea": 3}'])
def test_an_organ_with_two_ids_is_refused(tmp_path, text):
    (tmp_path / "ids.json").write_text(text)
    with pytest.raises(InputError, match="is there twice"):
        WrittenLabels.of(TWO, label_map=str(tmp_path / "ids.json"))


def test_an_organ_without_an_id_is_named_unless_it_is_left_out(tmp_path):
    (tmp_path / "ids.toml").write_text("block = 1")
    with pytest.raises(UsageError, match="pea"):
        WrittenLabels.of(TWO, label_map=str(tmp_path / "ids.toml"))
    assert WrittenLabels.of(TWO, "block", str(tmp_path / "ids.toml")).names == {1: "block"}


@pytest.mark.parametrize("label_map", ["nobody", "ids.txt"])
def test_an_unknown_label_map_names_the_known_ones(label_map):
    with pytest.raises(UsageError, match="flare22, totalsegmentator"):
        WrittenLabels.of(TWO, label_map=label_map)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="absent.toml"):
        WrittenLabels.of(TWO, label_map=str(tmp_path / "absent.toml"))
