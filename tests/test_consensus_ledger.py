"""The ledger: what is written is read again, a torn line is forgotten, other settings are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flarekit.consensus import Ledger, ModelEntry, Record, RoundSettings
from flarekit.errors import InputError, OutputError, UsageError

SETTINGS = RoundSettings(
    round=1,
    models=(
        ModelEntry(checkpoint="a@1", weights_sha256="11"),
        ModelEntry(checkpoint="b@2", weights_sha256="22"),
    ),
    threshold=0.9,
)
RECORD = Record(
    case="one",
    image_sha256="33",
    kept=True,
    reason="mean Dice 0.950 reaches 0.9",
    score=0.95,
    model_scores={"a@1": 0.9, "b@2": 1.0},
    organ_scores={"a@1": {"liver": 0.9, "spleen": None}, "b@2": {"liver": 1.0, "spleen": None}},
    mask="labels/one.nii.gz",
    seconds=1.5,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def test_records_are_read_again(path):
    first = Ledger(path, SETTINGS)
    first.append(RECORD)
    first.append(replace(RECORD, case="two", kept=False, mask=None, score=None))
    assert list(Ledger(path, SETTINGS).records) == ["one", "two"]
    assert Ledger(path, SETTINGS).records == first.records
    assert Ledger(path, SETTINGS).records["one"] == RECORD


def test_each_line_says_what_made_it(path):
    Ledger(path, SETTINGS).append(RECORD)
    line = json.loads(path.read_text())
    assert (line["format"], line["version"], line["round"]) == ("flarekit-ledger", 1, 1)
    assert line["models"][1] == {"checkpoint": "b@2", "weights_sha256": "22"}
    assert line["threshold"] == 0.9


def test_a_line_cut_short_by_a_kill_is_dropped_and_the_next_record_is_whole(path):
    Ledger(path, SETTINGS).append(RECORD)
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    ledger = Ledger(path, SETTINGS)
    assert list(ledger.records) == ["one"]
    ledger.append(replace(RECORD, case="two"))
    assert [json.loads(line)["case"] for line in path.read_text().splitlines()] == ["one", "two"]


def test_only_a_torn_line_leaves_an_empty_ledger(path):
    path.write_text('{"format": "flare')
    assert Ledger(path, SETTINGS).records == {}
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"threshold": 0.8}, "threshold"),
        ({"round": 2}, "round"),
        ({"models": (SETTINGS.models[0], ModelEntry(checkpoint="b@2", weights_sha256="99"))}, "models"),
    ],
)
def test_a_ledger_of_other_settings_is_refused(path, changed, name):
    Ledger(path, SETTINGS).append(RECORD)
    with pytest.raises(UsageError, match=f"made with another {name}"):
        Ledger(path, replace(SETTINGS, **changed))


@pytest.mark.parametrize("text", ["no json\n", "{}\n", "[]\n", "\x00\n"])
def test_something_else_is_no_ledger(path, text):
    path.write_text(text)
    with pytest.raises(InputError, match="line 1"):
        Ledger(path, SETTINGS)


def test_a_folder_in_the_ledgers_place_is_an_output_error(path):
    ledger = Ledger(path, SETTINGS)
    path.mkdir()
    with pytest.raises(OutputError, match="ledger.jsonl"):
        ledger.append(RECORD)


@pytest.mark.parametrize("wrong", [{"threshold": 1.2}, {"models": SETTINGS.models[:1]}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        replace(SETTINGS, **wrong)
