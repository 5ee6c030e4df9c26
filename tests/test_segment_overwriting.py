"""What `flarekit segment` finds in its output's place stays without --overwrite, and never mixes with its own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from segmentation_doubles import painted_ct, publish_tiny

from flarekit.volumes import write_volume

MODELS = ("--model", "ref", "--propagation-model", "prop", "--device", "cpu")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder of one CT, and tiny checkpoints."""
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    write_volume(tmp_path / "CTs" / "a_0000.nii.gz", painted_ct())
    return tmp_path / "CTs"


@pytest.fixture
def run(cases, run_cli):
    def run(*arguments: object):
        return run_cli("segment", *arguments, *MODELS)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["batch.json", "batch.csv", "labels.ctbl", "labels_itksnap.txt", "index.html"])
def test_a_batchs_own_files_do_not_replace_anybody_elses(run, cases, name):
    masks = cases.with_name("masks")
    masks.mkdir()
    (masks / name).write_text("mine")
    outcome = run(cases, "-o", masks, "--report")
    assert outcome.code == 4 and f"{name}: exists already" in outcome.stderr and "--overwrite" in outcome.stderr
    assert (masks / name).read_text() == "mine" and not (masks / "a.nii.gz").exists()
    assert run(cases, "-o", masks, "--report", "--overwrite").code == 0
    assert (masks / name).read_text() != "mine"
    assert run(cases, "-o", masks, "--report").code == 0, "its own files are no obstacle"


def test_colour_tables_of_a_folder_stay_those_of_its_masks(run, cases):
    masks = cases.with_name("masks")
    assert run(cases, "-o", masks).code == 0
    before = contents(masks)
    outcome = run(cases, "-o", masks, "--organs", "pea")
    assert outcome.code == 4 and "labels_itksnap.txt: exists already" in outcome.stderr
    assert contents(masks) == before


def test_no_case_of_a_batch_is_written_over_another(run, cases):
    write_volume(cases / "a_uncertainty_0000.nii.gz", painted_ct())
    masks = cases.with_name("masks")
    outcome = run(cases, "-o", masks, "--uncertainty", "--overwrite")
    assert outcome.code == 2 and "'a_uncertainty' would be written over a file of the case 'a'" in outcome.stderr
    assert not masks.exists()


def test_no_case_of_a_batch_is_written_over_the_image_of_another(run, cases):
    write_volume(cases / "a_0000_0000.nii.gz", painted_ct())
    before = contents(cases)
    outcome = run(cases, "-o", cases, "--overwrite")
    assert outcome.code == 2 and "'a_0000' would be written over a file of the case 'a'" in outcome.stderr
    assert contents(cases) == before


def test_organs_of_an_earlier_run_do_not_stay_among_those_of_this_one(run, cases):
    image, split = cases / "a_0000.nii.gz", cases.with_name("split")
    assert run(image, "-o", split, "--split", "--uncertainty").code == 0
    (split / "notes.nii.gz").write_text("mine")
    assert run(image, "-o", split, "--split", "--organs", "pea", "--overwrite").code == 0
    assert contents(split).keys() == {"pea.nii.gz", "segmentation.json", "notes.nii.gz"}


def test_only_files_that_are_called_like_the_case_are_taken_for_its_own(run, cases, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    listed = ["notes.txt", "../notes.txt", "mask_uncertainty.nii.gz", "", ".", 5]
    (tmp_path / "mask_uncertainty.nii.gz").write_text("an earlier run's")
    (tmp_path / "mask.json").write_text(json.dumps({"format": "flarekit-segmentation", "outputs": listed}))
    assert run(cases / "a_0000.nii.gz", "-o", tmp_path / "mask.nii.gz", "--overwrite").code == 0
    assert (tmp_path / "notes.txt").exists() and not (tmp_path / "mask_uncertainty.nii.gz").exists()


@pytest.mark.parametrize("content", ['{"Modality": "CT"}', "[]", '{"format": 1}', '{"format": "flarekit-seg', ""])
def test_a_json_that_another_program_wrote_is_never_replaced(run, cases, tmp_path, content):
    (tmp_path / "mask.json").write_text(content)
    outcome = run(cases / "a_0000.nii.gz", "-o", tmp_path / "mask.nii.gz", "--overwrite")
    assert outcome.code == 4 and "mask.json: is there and is no JSON of flarekit's masks" in outcome.stderr
    found = {path: path.read_text() for path in tmp_path.glob("mask*")}
    assert found == {tmp_path / "mask.json": content}


def test_a_label_map_that_is_read_is_not_replaced_by_the_json(run, cases, tmp_path):
    numbering = tmp_path / "mask.json"
    numbering.write_text(json.dumps({"block": 3, "pea": 300}))
    outcome = run(cases / "a_0000.nii.gz", "-o", tmp_path / "mask.nii.gz", "--label-map", numbering, "--overwrite")
    assert outcome.code == 4 and "mask.json: is read and cannot be written too" in outcome.stderr
    assert json.loads(numbering.read_text()) == {"block": 3, "pea": 300}


def test_what_another_run_finished_in_the_meantime_stays(run, cases, tmp_path, monkeypatch):
    mask = tmp_path / "mask.nii.gz"

    def read_slowly(*arguments, **options):
        mask.write_text("another run's")
        mask.with_name("mask.json").write_text("{}")
        return read(*arguments, **options)

    from flarekit.pipeline import case

    read = case.read_case
    monkeypatch.setattr(case, "read_case", read_slowly)
    outcome = run(cases / "a_0000.nii.gz", "-o", mask)
    assert outcome.code == 4 and "mask.nii.gz: exists already" in outcome.stderr
    assert mask.read_text() == "another run's" and mask.with_name("mask.json").read_text() == "{}"


EVERYTHING = ("--uncertainty", "--save-probabilities", "--statistics")


@pytest.mark.parametrize("target", ["mask.nii.gz", "mask.json", "mask_uncertainty.nii.gz"])
def test_a_folder_in_a_files_place_is_found_before_anything_is_done(run, cases, tmp_path, target):
    (tmp_path / "results" / target).mkdir(parents=True)
    mask = tmp_path / "results" / "mask.nii.gz"
    outcome = run(cases / "a_0000.nii.gz", "-o", mask, "--uncertainty", "--overwrite")
    assert outcome.code == 4 and f"{target}: is a folder" in outcome.stderr
    assert [path.name for path in mask.parent.iterdir()] == [target]


@pytest.mark.parametrize("options", [(), ("--split",)])
def test_an_earlier_result_stays_where_the_new_one_cannot_be_written(run, cases, monkeypatch, options):
    image, mask = cases / "a_0000.nii.gz", cases.with_name("results") / ("mask" if options else "mask.nii.gz")
    assert run(image, "-o", mask, *EVERYTHING, *options).code == 0
    before = contents(mask.parent)

    def full(organs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("flarekit.pipeline.writing.statistics_table", full)
    outcome = run(image, "-o", mask, *EVERYTHING, *options, "--no-propagation", "--overwrite")
    assert outcome.code == 4 and "no space left" in outcome.stderr
    assert str(mask.parent) in outcome.stderr and ".tmp-" not in outcome.stderr
    assert contents(mask.parent) == before


def test_a_killed_run_leaves_the_earlier_result_and_the_next_one_clears_up(run, cases):
    image, mask = cases / "a_0000.nii.gz", cases.with_name("results") / "mask.nii.gz"
    assert run(image, "-o", mask).code == 0
    before = contents(mask.parent)
    kill = "import os, signal; from flarekit.cli import main; from flarekit.pipeline import writing\n"
    kill += "writing.itk_snap = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nmain()"
    command = [sys.executable, "-c", kill, "segment", str(image), "-o", str(mask), *MODELS, "--overwrite"]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    (left,) = (path for path in mask.parent.iterdir() if path.name not in before)
    assert left.is_dir() and (left / "mask.nii.gz").is_file()
    assert {name: text for name, text in contents(mask.parent).items() if name in before} == before
    assert run(image, "-o", mask, "--overwrite").code == 0
    assert contents(mask.parent).keys() == before.keys() and not left.exists()


def test_a_run_that_is_stopped_while_files_come_into_place_is_gone_on_with(run, cases, monkeypatch):
    image, mask = cases / "a_0000.nii.gz", cases.with_name("results") / "mask.nii.gz"
    assert run(image, "-o", mask).code == 0

    def stopped(source, target):
        if Path(target) == mask.with_name("mask.ctbl"):
            raise KeyboardInterrupt
        return replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        assert run(image, "-o", mask, "--overwrite").code == 130
    assert json.loads(mask.with_name("mask.json").read_text())["format"] == "flarekit-unfinished"
    assert run(image, "-o", mask).code == 0, "nobody's finished files are in the way"
    assert json.loads(mask.with_name("mask.json").read_text())["format"] == "flarekit-segmentation"


@pytest.mark.parametrize("stop", ["block.nii.gz", "segmentation.json"])
@pytest.mark.parametrize("options", [("--organs", "block"), ("--organs", "block", "--overwrite")])
def test_an_earlier_runs_files_go_though_their_replacement_is_stopped(run, cases, monkeypatch, stop, options):
    image, split = cases / "a_0000.nii.gz", cases.with_name("split")
    assert run(image, "-o", split, "--split", "--save-probabilities").code == 0

    def stopped(source, target):
        if Path(target) == split / stop and ".tmp-" in Path(source).parent.name:
            raise KeyboardInterrupt
        return replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        assert run(image, "-o", split, "--split", "--organs", "block", "--overwrite").code == 130
    assert run(image, "-o", split, "--split", *options).code == 0
    assert {path.name for path in split.iterdir()} == {"block.nii.gz", "segmentation.json"}
