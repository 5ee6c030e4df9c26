"""What labelling a case takes in memory, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLANE = (160, 176)
PROBE = """
import resource, sys, tempfile
from pathlib import Path
import numpy as np, torch
from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus import Vote, label_case
from flarekit.labels import LabelSet
from flarekit.volumes import Volume

members, organs, *shape = map(int, sys.argv[1:])
torch.set_num_threads(1)

class Noise:
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def votes(self, volume, case, scratch):
        for _ in range(shape[0]):
            planes = torch.zeros(organs + 1, *shape[1:])
            planes[3] = 1.0
            planes[:, :20] = torch.rand(organs + 1, 20, shape[2], generator=self.generator).softmax(0)
            yield Vote(classes=planes.max(0).indices.to(torch.uint8).numpy(), probabilities=planes)

names = tuple(f"organ{c}" for c in range(1, organs + 1))
labels = LabelSet(name="noise", names=names, ids=tuple(range(1, organs + 1)))
volume = Volume.from_source(np.zeros(shape[::-1], dtype=np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
config = ConsensusConfig(uncertainty=True, per_organ=True, threshold=0.3)

def label(volume):
    voters = {f"m{m}": Noise(m) for m in range(members)}
    with tempfile.TemporaryDirectory() as scratch:
        return label_case(volume, voters, "case", labels, config, scratch=Path(scratch))

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
labelled = label(volume)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def added_bytes(members: int, organs: int, slices: int) -> int:
    """What the process grew by, beyond the libraries and the CT."""
    command = [sys.executable, "-c", PROBE, *map(str, (members, organs, slices, *PLANE))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_a_voxel_more_takes_a_few_bytes_more_whatever_the_number_of_members_and_classes():
    shallow, deep = added_bytes(5, 20, slices=10), added_bytes(5, 20, slices=90)
    voxels = 80 * PLANE[0] * PLANE[1]
    # The masks and the uncertainty are two bytes a voxel; all probabilities would be 5 * 21 * 4 = 420.
    assert deep - shallow < 6 * voxels
