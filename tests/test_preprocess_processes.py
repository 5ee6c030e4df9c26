"""`flarekit preprocess` as real processes: killed, out of disk, two at once, over a cluster. No half case, ever."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dask_cluster import dask_cluster

from flarekit.data.checksum import is_whole
from flarekit.data.layouts import find_cases
from flarekit.data.preprocess import FAILED, REDONE, SKIPPED, WRITTEN, preprocess
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.labels import FLARE22

SHAPE = (48, 40, 36)
NAMES = [f"case{number:02d}" for number in range(10)]


@pytest.fixture
def volumes(tmp_path) -> Path:
    """Ten CTs of noise, which does not compress: about 100 kB each in a store."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        array = np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.8, 0.9, 2.5, 1.0])), folder / f"{name}.nii")
    return folder


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 500 kB of its own, which no limit of a process stands in for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs: no full disk to test on")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def start(volumes: Path, store: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "flarekit", "preprocess", str(volumes), "-o", str(store), "--json", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


def finished(process: subprocess.Popen) -> dict[str, str]:
    """What became of each case, of a run that ended well."""
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return {case["name"]: case["status"] for case in json.loads(stdout)["cases"]}


def assert_whole(store: Path) -> None:
    assert all(is_whole(path) for path in store.glob("*.h5") if not path.name.startswith("."))


def assert_complete(store: Path) -> None:
    assert sorted(path.name for path in store.iterdir()) == [*(f"{name}.h5" for name in NAMES), "store.json"]
    assert_whole(store)


def test_a_run_that_is_killed_leaves_whole_cases_and_the_next_goes_on(volumes, tmp_path):
    store, moments = tmp_path / "store", random.Random(time.time_ns())
    for workers in ("0", "2"):
        run = start(volumes, store, "--workers", workers)
        while not store.exists() and run.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        run.kill()
        run.communicate()
        assert_whole(store)
    there = {path.stem: path.stat().st_mtime_ns for path in store.glob("case*.h5")}
    statuses = finished(start(volumes, store))
    assert statuses == {name: SKIPPED if name in there else WRITTEN for name in NAMES}
    assert all((store / f"{name}.h5").stat().st_mtime_ns == when for name, when in there.items())
    assert_complete(store)


def test_a_full_disk_costs_the_cases_that_did_not_fit(volumes, small_disk, run_cli):
    store = small_disk / "store"
    outcome = run_cli("preprocess", volumes, "-o", store, "--json")
    cases = json.loads(outcome.stdout)["cases"]
    failed = [case for case in cases if case["status"] == FAILED]
    assert outcome.code == 7 and 0 < len(failed) < len(NAMES)
    assert all("no space left" in case["error"] for case in failed)
    assert len(list(store.iterdir())) == 1 + len(cases) - len(failed), "the cases that fit, and store.json"
    assert_whole(store)
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    result = json.loads(run_cli("preprocess", volumes, "-o", store, "--json").stdout)
    assert result["counts"] == {SKIPPED: len(NAMES) - len(failed), WRITTEN: len(failed)}
    assert_complete(store)


def test_a_disk_that_is_full_from_the_start_gets_no_store(volumes, small_disk, run_cli):
    (small_disk / "others").write_bytes(bytes(480_000))
    outcome = run_cli("preprocess", volumes, "-o", small_disk / "store")
    assert outcome.code == 7 and list((small_disk / "store").iterdir()) == []


def test_two_runs_at_once_make_one_store(volumes, tmp_path):
    runs = [start(volumes, tmp_path / "store", "--workers", workers) for workers in ("0", "2")]
    for run in runs:
        statuses = finished(run)
        assert sorted(statuses) == NAMES and set(statuses.values()) <= {WRITTEN, REDONE, SKIPPED}
    assert_complete(tmp_path / "store")


@pytest.mark.slow
def test_two_runs_with_different_settings_at_once_never_mix(volumes, tmp_path):
    runs = [start(volumes, tmp_path / "store", *options) for options in ((), ("--bake-windows",))]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode == 0 for run in runs) == [False, True], errors
    assert "10 of 10 cases failed" in errors[0] + errors[1] or "other settings" in errors[0] + errors[1]
    store = SliceStore.open(tmp_path / "store")
    assert store.cases == NAMES and all(store.case(name).header.baked == store.config.baked for name in NAMES)
    assert_complete(tmp_path / "store")


def test_a_cluster_stores_every_case_though_a_worker_is_killed(volumes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = find_cases(Path("volumes")).cases
    store = SliceStore(Path("store"), StoreConfig(labels=FLARE22))
    with dask_cluster(tmp_path) as cluster:
        killer = subprocess.Popen(
            ["sh", "-c", f"while ! ls store/*.h5; do sleep 0.01; done; kill -9 {cluster.workers[0].pid}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        results = preprocess(cases, store, scheduler=cluster.address)
        killer.wait(timeout=10)
        cluster.workers[0].wait(timeout=10)
    assert [result.name for result in results] == NAMES
    assert {result.status for result in results} <= {WRITTEN, REDONE, SKIPPED}
    assert_complete(tmp_path / "store")
