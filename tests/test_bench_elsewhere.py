"""A machine that is lent for a benchmark need not have the libraries that read volumes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nibabel", "SimpleITK", "hdf5plugin", "h5py"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


PROGRAM = """
import torch
import conftest, test_affinity, test_affinity_bench, test_affinity_triton
import flarekit.bench.affinity, flarekit.cli.commands
from flarekit.bench.propagate import Patient, bench_propagation
from flarekit.config.propagation import PropagationConfig
torch.set_num_threads(1)
patient = Patient.drawn((10, 64, 64), every=5, objects=1)
cost = bench_propagation(patient, "lite", PropagationConfig(before=0, after=1), device=torch.device("cpu"))
assert cost.total_s > 0
"""


def test_the_memory_read_and_propagation_are_benchmarked_without_a_library_that_reads_volumes() -> None:
    command = [sys.executable, "-c", BLOCKED + PROGRAM]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
