"""`flarekit pseudolabel` as real processes: killed, in workers, over a cluster, out of disk. No case is done twice."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dask_cluster import dask_cluster
from segmentation_doubles import ORGANS, painted_classes, painted_volume

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus import MaskSource, Round, order, read_ledger, run_round
from flarekit.data.layouts import CaseFiles, find_cases
from flarekit.errors import OutputError
from flarekit.volumes import read_labels, write_labels, write_volume

NAMES = [f"case{number}" for number in range(6)]


@pytest.fixture
def cases(tmp_path) -> Path:
    """Six painted CTs in images/, and the label maps of two people, who differ on the pea."""
    ids = ORGANS.to_ids(painted_classes())
    for name in NAMES:
        write_volume(tmp_path / "images" / f"{name}.nii.gz", painted_volume())
        write_labels(tmp_path / "first" / f"{name}.nii.gz", painted_volume().like(ids))
        blind = np.where(ids == 9, 0, ids)
        write_labels(tmp_path / "second" / f"{name}.nii.gz", painted_volume().like(blind))
    labels = {"background": 0} | dict(zip(ORGANS.names, ORGANS.ids, strict=True))
    for folder in ("first", "second"):
        (tmp_path / folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return tmp_path


def plan(folder: Path, out: Path) -> Round:
    members = order([MaskSource.of(str(folder / name)) for name in ("first", "second")])
    return Round(sources=members, labels=ORGANS, config=ConsensusConfig(per_organ=True, uncertainty=True), output=out)


def images(folder: Path) -> tuple[CaseFiles, ...]:
    return find_cases(folder / "images").cases


def assert_complete(out: Path) -> None:
    """All masks are whole, with every record once, and no temporary file is left."""
    lines = [json.loads(line)["case"] for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert sorted(lines) == NAMES
    assert all(record.ignored == ("pea",) for record in read_ledger(out / "ledger.jsonl").records.values())
    for folder in ("labels", "uncertainty"):
        assert sorted(path.name for path in (out / folder).iterdir()) == [f"{name}.nii.gz" for name in NAMES]
    for name in NAMES:
        assert set(np.unique(read_labels(out / "labels" / f"{name}.nii.gz").array)) == {0, 4, 255}


def start(folder: Path, out: Path, *options: str) -> subprocess.Popen:
    masks = ("--predictions", str(folder / "first"), "--predictions", str(folder / "second"))
    command = [sys.executable, "-m", "flarekit", "pseudolabel", str(folder / "images"), *masks, "-o", str(out)]
    command += ["--per-organ", "--uncertainty", "--json", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


def test_a_killed_run_is_gone_on_with_and_no_finished_case_is_done_again(cases):
    out, moments = cases / "out", random.Random(time.time_ns())
    killed = start(cases, out)
    while not (out / "labels").exists() and killed.poll() is None:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.3))
    killed.kill()
    killed.communicate()
    content = (out / "ledger.jsonl").read_bytes()
    finished = [json.loads(line)["case"] for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    outcomes = run_round(images(cases), plan(cases, out))
    assert [o.case for o in outcomes if o.status == "skipped"] == sorted(finished)
    assert (out / "ledger.jsonl").read_bytes().startswith(content[: content.rfind(b"\n") + 1])
    assert_complete(out)


@pytest.mark.slow
def test_several_workers_do_each_case_once(cases):
    outcomes = run_round(images(cases), plan(cases, cases / "out"), workers=2)
    assert [outcome.case for outcome in outcomes] == NAMES
    assert_complete(cases / "out")


@pytest.mark.slow
def test_a_cluster_labels_every_case_though_a_worker_is_killed(cases, monkeypatch):
    monkeypatch.chdir(cases)
    with dask_cluster(cases) as cluster:
        killer = subprocess.Popen(
            ["sh", "-c", f"while ! ls out/labels/*.gz; do sleep 0.01; done; kill -9 {cluster.workers[0].pid}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        outcomes = run_round(images(Path()), plan(Path(), Path("out")), scheduler=cluster.address)
        killer.wait(timeout=30)
    assert {outcome.status for outcome in outcomes} == {"kept"}
    assert_complete(cases / "out")


def test_a_full_disk_ends_the_run_and_loses_nothing(cases, full_disk, run_cli):
    out = cases / "out"
    first = [case for case in images(cases) if case.name == "case0"]
    run_round(first, plan(cases, out))
    ledger = (out / "ledger.jsonl").read_bytes()
    masks = ("--predictions", cases / "first", "--predictions", cases / "second")
    command = ("pseudolabel", cases / "images", *masks, "--per-organ", "--uncertainty", "-o", out)
    with full_disk(len(ledger) + 100):
        outcome = run_cli(*command, "--dataset", cases / "first" / "dataset.json")
    assert outcome.code == 4 and "no space left" in outcome.stderr and outcome.stderr.count("\n") == 1
    assert (out / "ledger.jsonl").read_bytes().startswith(ledger)
    outcome = run_cli(*command, "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["counts"]["skipped"] >= 1
    assert_complete(out)


def test_two_processes_do_not_label_one_round(cases):
    out = cases / "out"
    out.mkdir()
    script = "import sys; from pathlib import Path\n"
    script += "from flarekit.errors import OutputError; from flarekit.lock import held\n"
    script += "with held(Path(sys.argv[1]), 'labelling this round', OutputError):\n"
    script += "    print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(out / "pseudolabel.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"out: process {other.pid} on .* is labelling this round"):
            run_round(images(cases)[:1], plan(cases, out), overwrite=True)
        assert [path.name for path in out.iterdir()] == ["pseudolabel.lock"]
    assert [outcome.status for outcome in run_round(images(cases)[:1], plan(cases, out))] == ["kept"]


def test_where_the_file_system_knows_no_locks_a_round_is_labelled_without(cases, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    assert [outcome.status for outcome in run_round(images(cases)[:1], plan(cases, cases / "out"))] == ["kept"]
