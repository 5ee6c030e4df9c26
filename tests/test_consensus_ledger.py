"""The ledger: what is written is read again, a torn line is forgotten, other settings are refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from flarekit.consensus import Ledger, MemberEntry, Record, RoundSettings, read_ledger
from flarekit.consensus.ledger import recorded_files
from flarekit.consensus.table import write_table
from flarekit.errors import InputError, OutputError, UsageError

SETTINGS = RoundSettings(
    round=1,
    members=(
        MemberEntry(name="a@1", kind="checkpoint", weights_sha256="11"),
        MemberEntry(name="b@2", kind="checkpoint", weights_sha256="22"),
    ),
    organs=("liver", "spleen"),
    threshold=0.9,
    backend="torch",
    hu_offset_asked="auto",
)
RECORD = Record(
    case="one",
    status="kept",
    image_sha256="33",
    reason="mean Dice 0.950 reaches 0.9",
    score=0.95,
    case_scores={"dice": 0.95, "iou": 0.96},
    member_scores={"a@1": 0.9, "b@2": 1.0},
    organ_scores={"a@1": {"liver": 0.9, "spleen": None}, "b@2": {"liver": 1.0, "spleen": None}},
    organ_means={"dice": {"liver": 0.95, "spleen": None}},
    ignored=("spleen",),
    mask="labels/one.nii.gz",
    uncertainty="uncertainty/one.nii.gz",
    seconds=1.5,
)
VERSION_1 = {  # a line as flarekit 0.1 wrote it
    "format": "flarekit-ledger",
    "version": 1,
    "round": 1,
    "models": [
        {"checkpoint": "b@2", "weights_sha256": "22"},
        {"checkpoint": "a@1", "weights_sha256": "11"},
    ],
    "threshold": 0.9,
    "case": "old",
    "image_sha256": "44",
    "kept": False,
    "reason": "mean Dice 0.850 lies below 0.9",
    "score": 0.85,
    "model_scores": {"b@2": 0.8, "a@1": 0.9},
    "organ_scores": {"b@2": {"liver": 0.8, "spleen": None}, "a@1": {"liver": 0.9, "spleen": None}},
    "mask": None,
    "seconds": 2.5,
    "hu_offset": 1024,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def test_records_are_read_again(path):
    first = Ledger(path, SETTINGS)
    first.append(RECORD)
    first.append(replace(RECORD, case="two", status="rejected", mask=None, score=None))
    assert list(Ledger(path, SETTINGS).records) == ["one", "two"]
    assert Ledger(path, SETTINGS).records == first.records
    assert Ledger(path, SETTINGS).records["one"] == RECORD


def test_each_line_says_what_made_it(path):
    Ledger(path, SETTINGS).append(RECORD)
    line = json.loads(path.read_text())
    assert (line["format"], line["version"], line["round"]) == ("flarekit-ledger", 2, 1)
    assert line["members"][1]["name"] == "b@2" and line["members"][1]["weights_sha256"] == "22"
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
        ({"members": (SETTINGS.members[0], replace(SETTINGS.members[1], weights_sha256="99"))}, "members"),
        ({"combine": "majority"}, "combine"),
        ({"mode": "iou"}, "mode"),
        ({"per_organ": True}, "per_organ"),
        ({"layout": "nnunet"}, "layout"),
        ({"backend": "onnx"}, "backend"),
        ({"hu_offset_asked": "1024"}, "hu_offset_asked"),
        ({"organs": ("liver", "kidney"), "mode": "iou"}, "organs, mode"),
    ],
)
def test_a_ledger_of_other_settings_is_refused(path, changed, name):
    Ledger(path, SETTINGS).append(RECORD)
    with pytest.raises(UsageError, match=f"made with another {name}"):
        Ledger(path, replace(SETTINGS, **changed))


@pytest.mark.parametrize("text", ["no json\n", "{}\n", "[]\n", "\x00\n", '{"version": 3}\n', '{"version": 2}\n'])
def test_something_else_is_no_ledger(path, text):
    path.write_text(text)
    with pytest.raises(InputError, match="line 1"):
        Ledger(path, SETTINGS)


def test_a_ledger_of_a_version_to_come_is_called_that(path):
    path.write_text('{"format": "flarekit-ledger", "version": 3}\n')
    with pytest.raises(InputError, match=r"ledger of version 3, and this flarekit reads 1 and 2"):
        Ledger(path, SETTINGS)


def test_a_folder_in_the_ledgers_place_is_an_output_error(path):
    ledger = Ledger(path, SETTINGS)
    path.mkdir()
    with pytest.raises(OutputError, match="ledger.jsonl"):
        ledger.append(RECORD)


@pytest.mark.parametrize("wrong", [{"threshold": 1.2}, {"members": SETTINGS.members[:1]}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        replace(SETTINGS, **wrong)


def test_a_ledger_of_version_1_is_read_and_gone_on_with(path):
    path.write_text(json.dumps(VERSION_1) + "\n")
    ledger = Ledger(path, SETTINGS)
    old = ledger.records["old"]
    assert (old.status, old.score, old.hu_offset) == ("rejected", 0.85, 1024)
    assert old.member_scores == {"b@2": 0.8, "a@1": 0.9} and old.organ_scores["b@2"]["liver"] == 0.8
    ledger.append(RECORD)
    assert list(read_ledger(path).records) == ["old", "one"]
    with pytest.raises(UsageError, match="another threshold"):
        Ledger(path, replace(SETTINGS, threshold=0.8))


def test_a_ledger_that_is_older_than_a_setting_is_read_and_gone_on_with(path):
    Ledger(path, SETTINGS).append(RECORD)
    line = json.loads(path.read_text())
    for name in ("ids", "certainty"):
        del line[name]
    path.write_text(json.dumps(line) + "\n")
    assert read_ledger(path).settings == SETTINGS and Ledger(path, SETTINGS).records == {"one": RECORD}
    with pytest.raises(UsageError, match="made with another certainty"):
        Ledger(path, replace(SETTINGS, certainty=0.8))


def test_the_last_record_of_a_case_holds(path):
    ledger = Ledger(path, SETTINGS)
    ledger.append(Record(case="one", status="failed", reason="one.nii.gz: is damaged."))
    ledger.append(RECORD)
    assert read_ledger(path).records == {"one": RECORD}


def test_reading_changes_nothing_and_a_torn_line_is_passed_over(path):
    Ledger(path, SETTINGS).append(RECORD)
    torn = path.read_bytes() + b'{"format": "flare'
    path.write_bytes(torn)
    assert read_ledger(path).settings == SETTINGS
    assert path.read_bytes() == torn


def test_a_missing_or_empty_ledger_and_one_of_two_rounds_are_named(path):
    with pytest.raises(InputError, match="does not exist"):
        read_ledger(path)
    path.write_text("")
    with pytest.raises(InputError, match="holds no record"):
        read_ledger(path)
    Ledger(path, SETTINGS).append(RECORD)
    first = path.read_text()
    path.unlink()
    Ledger(path, replace(SETTINGS, round=2)).append(RECORD)
    path.write_text(first + path.read_text())
    with pytest.raises(InputError, match="another round"):
        read_ledger(path)


def test_no_recorded_name_leads_out_of_the_folder(path):
    lines = [{"mask": "labels/a.nii.gz", "uncertainty": None}, {"mask": "../a.nii.gz"}, {"uncertainty": "/etc/a"}, []]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\nno json\n")
    assert recorded_files(path) == ["labels/a.nii.gz"]


def test_the_table_has_every_score_in_a_row_a_case(path):
    table = path.with_name("ledger.csv")
    failed = Record(case="bad", status="failed", reason="bad.nii.gz: is damaged, or not.")
    write_table(table, SETTINGS, {"one": RECORD, "bad": failed})
    bad, one = csv.DictReader(table.read_text().splitlines())
    assert (bad["case"], bad["status"], bad["reason"], bad["score"]) == ("bad", "failed", failed.reason, "")
    assert (one["score"], one["case dice"], one["case iou"], one["dice: liver"]) == ("0.95", "0.95", "0.96", "0.95")
    assert (one["member a@1"], one["member b@2: liver"], one["member b@2: spleen"]) == ("0.9", "1.0", "")
    assert one["ignored"] == "spleen"
    assert (one["round"], one["mode"], one["threshold"], one["seconds"]) == ("1", "dice", "0.9", "1.5")


def test_a_member_that_is_called_like_a_column_or_an_organ_takes_nothings_place(path):
    names = ("mask", "liver")
    voted = replace(
        RECORD,
        member_scores=dict(zip(names, (0.25, 0.75), strict=True)),
        organ_scores={name: {"liver": 0.5, "spleen": None} for name in names},
        organ_means={"dice": {"liver": 0.95, "spleen": None}, "iou": {"liver": 0.96, "spleen": 1.0}},
    )
    table = path.with_name("ledger.csv")
    write_table(table, SETTINGS, {"one": voted})
    header, _ = csv.reader(table.read_text().splitlines())
    assert len(set(header)) == len(header)
    (one,) = csv.DictReader(table.read_text().splitlines())
    assert (one["mask"], one["member mask"], one["member liver"]) == ("labels/one.nii.gz", "0.25", "0.75")
    assert (one["dice: liver"], one["iou: spleen"], one["member mask: liver"]) == ("0.95", "1.0", "0.5")
