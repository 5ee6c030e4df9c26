"""Data sets of painted ellipses on the disk, and a TOML file for rounds on them that take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from training_stores import ORGANS, blobs, paint, source_grid

from flarekit.volumes import Volume, write_labels, write_volume

SHAPE = (5, 40, 44)  # (Z, H, W)
PARTS = {"labelled": 2, "unlabelled": 2, "validation": 1, "test": 2}  # cases

CONFIG = """
name = "mine"
folder = "rounds"
device = "cpu"

[data]
labelled = ["data/labelled"]
unlabelled = ["data/unlabelled"]
validation = ["data/validation"]

[rounds]
number = 2
models = 2

[train]
arch = "tiny"
iterations = 2
labelled_batch = 1
unlabelled_batch = 1
crop = 32
validate_every = 2
save_every = 1
augmentation = "none"

[consensus]
threshold = 0.0
"""


def write_data(folder: Path) -> Path:
    """Data sets in FLARE22's layout for every part; a folder with a data/ in it comes back."""
    for seed, (part, count) in enumerate(PARTS.items()):
        for index in range(count):
            rng = np.random.default_rng((seed, index))
            classes = blobs(SHAPE, rng)
            volume, name = Volume(array=paint(classes, rng), source=source_grid(SHAPE)), f"{part}{index}"
            write_volume(folder / "data" / part / "images" / f"{name}_0000.nii.gz", volume)
            write_labels(folder / "data" / part / "labels" / f"{name}.nii.gz", volume.like(ORGANS.to_ids(classes)))
        labels = {"background": 0} | dict(zip(ORGANS.names, ORGANS.ids, strict=True))
        description = {"name": "test", "labels": labels, "pairs": [list(pair) for pair in ORGANS.pairs]}
        (folder / "data" / part / "dataset.json").write_text(json.dumps(description))
    return folder


def write_config(folder: Path, *changes: tuple[str, str], more: str = "") -> Path:
    """The TOML file with parts of it replaced, and more at its end."""
    text = CONFIG
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "selftrain.toml"
    path.write_text(text + more)
    return path
