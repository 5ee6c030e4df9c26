"""`flarekit bench preprocess` and `bench store`: figures with their machine, and memory that is bounded."""

from __future__ import annotations

import gzip
import json
import operator
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest

from flarekit.bench.memory import peak_memory_bytes
from flarekit.bench.preprocess import decompress, store_once
from flarekit.bench.store import layouts, repeated
from flarekit.volumes import Volume

MB = 1_000_000


def save(path: Path, shape: tuple[int, int, int]) -> Path:
    ramp = np.arange(np.prod(shape), dtype=np.int64) % 3000 - 1000
    nibabel.save(nibabel.Nifti1Image(ramp.astype(np.int16).reshape(shape), np.diag([0.8, 0.9, 2.5, 1.0])), path)
    return path


def test_the_peak_is_that_of_the_work_alone():
    held = np.ones(80 * MB, dtype=np.uint8)  # here, not in the process that is measured
    peak = peak_memory_bytes(partial(operator.mul, b"1"), 40 * MB)
    assert peak is not None and 39 * MB < peak < 60 * MB < held.nbytes


def test_the_floor_counts_every_byte(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(3_000_000)))
    (tmp_path / "b").write_bytes(bytes(10))
    assert decompress(tmp_path / "a.gz") == 3_000_000 and decompress(tmp_path) == 3_000_010


def test_slices_are_repeated_on_the_same_spacing():
    volume = Volume.from_source(np.arange(24).reshape(2, 3, 4), np.diag([0.8, 0.9, 2.5, 1.0]))
    longer = repeated(volume, 9)
    assert np.array_equal(longer.array, volume.array[[0, 1, 2, 3, 0, 1, 2, 3, 0]])
    assert longer.spacing_mm == pytest.approx(volume.spacing_mm)


def test_preprocessing_is_timed_by_stage_beside_its_floor(run_cli, tmp_path):
    ct = save(tmp_path / "ct.nii.gz", (30, 20, 10))
    text = run_cli("bench", "preprocess", ct, "--runs", "1").stdout
    assert "10 x 20 x 30 int16" in text and "threads" in text and "x floor" in text
    for stage in ("decompress alone", "hash", "read", "write", "verify", "all, from file to store", "Peak memory"):
        assert stage in text


def test_layouts_are_compared(run_cli, tmp_path, monkeypatch):
    few = [layout for layout in layouts() if layout.name in ("none", "bitshuffle-lz4, 4 slices a chunk")]
    monkeypatch.setattr("flarekit.bench.store.layouts", lambda: few)
    ct = save(tmp_path / "ct.nii.gz", (30, 20, 4))
    result = json.loads(run_cli("bench", "store", ct, "--slices", "6", "--reads", "16", "--json").stdout)
    names = [row["layout"] for row in result["layouts"]]
    assert names == ["none", "bitshuffle-lz4, 4 slices a chunk", "flarekit's store"]
    assert all(row["loader_per_s"].keys() == {"0", "2"} and row["size"] > 0 for row in result["layouts"])


@pytest.mark.slow
def test_storing_a_case_takes_little_more_than_twice_its_voxels(tmp_path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (512, 512, 150)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), tmp_path / "ct.nii")
    peak = peak_memory_bytes(store_once, tmp_path / "ct.nii")
    assert peak is not None and peak < 2.2 * noise.nbytes
