"""Folders of cases through `flarekit segment`."""

from __future__ import annotations

import csv
import json
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from dask_cluster import dask_cluster
from segmentation_doubles import ORGANS, painted_ct, publish_tiny

from flarekit.config.segment import OutputConfig
from flarekit.pipeline.case import Recipe
from flarekit.pipeline.inputs import is_batch
from flarekit.pipeline.models import ModelChoice
from flarekit.pipeline.outputs import UNFINISHED
from flarekit.volumes import read_labels, write_volume


@pytest.fixture
def cases(tmp_path):
    """Three CTs in FLARE22's naming, the second of them broken, and tiny checkpoints `ref` and `prop`."""
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    folder = tmp_path / "CTs"
    for name in ("a", "b", "c"):
        write_volume(folder / f"{name}_0000.nii.gz", painted_ct())
    broken = folder / "b_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:300])
    return folder


MODELS = ("--model", "ref", "--propagation-model", "prop", "--device", "cpu")


@pytest.fixture
def run(cases, run_cli):
    def run(*options: object):
        return run_cli("segment", cases, "-o", cases.with_name("masks"), *MODELS, *options)

    return run


def mend(cases) -> None:
    write_volume(cases / "b_0000.nii.gz", painted_ct(), overwrite=True)


def test_a_folder_that_is_not_there_is_named_whatever_the_workers(run_cli, tmp_path):
    outcome = run_cli("segment", tmp_path / "CTs", "-o", tmp_path / "masks", "--workers", 2)
    assert outcome.code == 3 and "CTs: does not exist. Check the path." in outcome.stderr


def test_a_bad_case_does_not_stop_the_rest_and_is_named_at_the_end(run, cases):
    outcome = run("--json")
    assert outcome.code == 7 and "1 of 3 cases failed: b" in outcome.stderr
    masks = cases.with_name("masks")
    assert {path.name for path in masks.iterdir()} == {
        "a.nii.gz", "a.json", "c.nii.gz", "c.json", "batch.json", "batch.csv", "labels.ctbl", "labels_itksnap.txt"
    }  # fmt: skip
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("[")]
    assert [line.split()[:3] for line in lines] == [
        ["[1/3]", "a:", "segmented"], ["[2/3]", "b:", "failed"], ["[3/3]", "c:", "segmented"]
    ]  # fmt: skip
    report = json.loads(outcome.stdout)
    assert report == json.loads((masks / "batch.json").read_text())
    assert report["counts"] == {"failed": 1, "segmented": 2}
    assert "b_0000.nii.gz" in report["cases"][1]["error"] and str(cases) not in outcome.stdout
    rows = list(csv.DictReader((masks / "batch.csv").open()))
    assert [(row["case"], row["organ"]) for row in rows] == [
        ("a", "block"), ("a", "pea"), ("b", ""), ("c", "block"), ("c", "pea")
    ]  # fmt: skip
    assert rows[2]["error"] and not rows[0]["error"]


def test_a_second_run_does_only_what_is_missing_and_says_so(run, cases):
    run()
    masks = cases.with_name("masks")
    before = {name: (masks / name).stat().st_mtime_ns for name in ("a.nii.gz", "a.json", "c.json")}
    mend(cases)
    (masks / "c.nii.gz").unlink()
    outcome = run()
    assert outcome.code == 0, outcome.stderr
    assert "a: skipped (finished already)" in outcome.stderr
    assert "b: segmented" in outcome.stderr and "c: segmented" in outcome.stderr
    assert before["a.nii.gz"] == (masks / "a.nii.gz").stat().st_mtime_ns
    assert before["a.json"] == (masks / "a.json").stat().st_mtime_ns
    assert "2 segmented, 1 skipped" in outcome.stdout


def test_cases_that_a_run_of_other_cts_finished_stay_listed(run, run_cli, cases):
    masks, others = cases.with_name("masks"), cases.with_name("others")
    assert run("--report").code == 7
    write_volume(others / "z_0000.nii.gz", painted_ct())
    finished = json.loads((masks / "a.json").read_text())
    for name, outputs in (("alone", ["a.nii.gz"]), ("lost", ["lost.nii.gz"])):
        (masks / f"{name}.json").write_text(json.dumps(finished | {"outputs": outputs}))
    damaged = {"one": {"outputs": 5}, "two": {"organs": [{"id": 1}]}, "three": {"outputs": [["a.nii.gz"]]}}
    for name, damage in damaged.items():  # by hand
        (masks / f"{name}.json").write_text(json.dumps(finished | damage))
    (masks / "notes.json").write_text("[]")
    outcome = run_cli("segment", others, "-o", masks, *MODELS, "--report", "--json")
    assert outcome.code == 0, outcome.stderr
    assert [case["name"] for case in json.loads(outcome.stdout)["cases"]] == ["z"]
    report = json.loads((masks / "batch.json").read_text())
    statuses = {case["name"]: case["status"] for case in report["cases"]}
    assert statuses == {"a": "earlier", "alone": "earlier", "c": "earlier", "z": "segmented"}
    assert report["counts"] == {"earlier": 3, "segmented": 1} and all(case["organs"] for case in report["cases"])
    assert {row["case"] for row in csv.DictReader((masks / "batch.csv").open())} == statuses.keys()
    index = (masks / "index.html").read_text()
    assert "a_report.html" in index and "z_report.html" in index
    assert "alone" in index and "alone_report.html" not in index


def test_what_was_made_otherwise_is_not_replaced_unasked(run, cases):
    mend(cases)
    run()
    publish_tiny("ref", seed=1)
    write_volume(cases / "a_0000.nii.gz", painted_ct().like(painted_ct().array + np.int16(1)), overwrite=True)
    outcome = run("--no-propagation")
    assert outcome.code == 7 and "3 of 3 cases failed" in outcome.stderr
    assert "models" in outcome.stderr and "image_sha256" in outcome.stderr and "--overwrite" in outcome.stderr
    assert run("--no-propagation", "--overwrite").code == 0
    assert json.loads((cases.with_name("masks") / "a.json").read_text())["models"].keys() == {"reference"}


def test_a_mask_of_another_origin_is_left_alone(run, cases):
    masks = cases.with_name("masks")
    masks.mkdir()
    (masks / "a.nii.gz").write_text("mine")
    outcome = run()
    assert outcome.code == 7 and "a: failed (a.nii.gz: exists already" in outcome.stderr
    assert (masks / "a.nii.gz").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_others_make_the_same_masks(run, run_cli, cases, tmp_path, where):
    mend(cases)
    assert run("--split").code == 0
    command = ("segment", cases, "-o", cases.with_name("other"), *MODELS, "--split")
    if where == "processes":
        outcome = run_cli(*command, "--workers", "2")
    else:
        with dask_cluster(tmp_path) as cluster:
            outcome = run_cli(*command, "--scheduler", cluster.address)
    assert outcome.code == 0, outcome.stderr
    for name in "abc":
        for organ in ORGANS.names:
            one, two = (read_labels(cases.with_name(f) / name / f"{organ}.nii.gz") for f in ("masks", "other"))
            assert np.array_equal(one.array, two.array)


def test_a_recipe_travels_to_other_processes_and_loads_the_same_models(cases):
    models = ModelChoice.of("ref", "prop", torch.device("cpu"))
    recipe = Recipe.of(models, output=OutputConfig(organs="pea"))
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe and again.models.load() is recipe.models.load()


@pytest.mark.slow
def test_a_batch_that_is_killed_goes_on_where_it_was(cases, run):
    mend(cases)
    masks = cases.with_name("masks")
    command = [sys.executable, "-m", "flarekit", "segment", str(cases), "-o", str(masks), *MODELS]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(masks.glob("*.nii.gz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (masks / "batch.json").exists()
    outcome = run()
    assert outcome.code == 0, outcome.stderr
    for name in "abc":
        assert read_labels(masks / f"{name}.nii.gz").array.shape == painted_ct().array.shape
        assert json.loads((masks / f"{name}.json").read_text())["format"] != UNFINISHED["format"]


def test_a_case_that_is_called_as_the_batchs_own_file_is_refused(cases, run):
    (cases / "a_0000.nii.gz").rename(cases / "batch.nii.gz")
    outcome = run()
    assert outcome.code == 2 and "'batch'" in outcome.stderr


def test_one_case_or_many(tmp_path, cases):
    assert is_batch(cases, None) and not is_batch(cases / "a_0000.nii.gz", tmp_path)
    (tmp_path / "set" / "images").mkdir(parents=True)
    assert is_batch(tmp_path / "set", None)
    scans = tmp_path / "scans" / "patient"
    scans.mkdir(parents=True)
    assert is_batch(scans.parent, tmp_path / "masks")
    assert not is_batch(scans.parent, tmp_path / "mask.nii.gz") and not is_batch(scans.parent, None)
    assert not is_batch(tmp_path / ("n" * 300), None)
