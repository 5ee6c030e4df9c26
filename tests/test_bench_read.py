"""`flarekit bench read`: every reader with its time and memory, and none of them reading another file."""

from __future__ import annotations

import json

import nibabel
import numpy as np

from flarekit.bench import read


def test_readers_are_compared_on_the_file_alone(run_cli, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(read, "peak_memory_bytes", lambda work, path: seen.append(list(path.parent.iterdir())))
    ramp = np.arange(30 * 20 * 10, dtype=np.int16).reshape(30, 20, 10)
    for name in ("ct.nii.gz", "ct.nii"):
        nibabel.save(nibabel.Nifti1Image(ramp, np.diag([0.8, 0.9, 2.5, 1.0])), tmp_path / name)
    result = json.loads(run_cli("bench", "read", tmp_path / "ct.nii.gz", "--runs", "1", "--json").stdout)
    names = [reader["reader"].split(",")[0] for reader in result["readers"]]
    assert names == ["decompress alone", "flarekit", "SimpleITK", "nibabel"]
    assert all(reader["read_s"] > 0 for reader in result["readers"]) and "threads" in result["machine"]
    assert [[path.name for path in files] for files in seen] == [["ct.nii.gz"]] * 4


def test_only_nifti_is_compared(run_cli, tmp_path):
    (tmp_path / "ct.mha").write_bytes(b"")
    outcome = run_cli("bench", "read", tmp_path / "ct.mha")
    assert outcome.code == 3 and "no NIfTI file" in outcome.stderr
