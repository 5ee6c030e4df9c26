"""Tiny slice stores of painted ellipses, for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import write_case
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.labels import LabelSet
from flarekit.volumes import Volume

ORGANS = LabelSet(
    name="test", names=("left_blob", "right_blob", "bar"), ids=(1, 2, 5), pairs=(("left_blob", "right_blob"),)
)
SHAPES = ((9, 60, 70), (12, 64, 58), (7, 56, 66))  # (Z, H, W), all axes of different lengths
SPACING_MM = (4.0, 1.6, 1.6)


def write_store(
    path: Path,
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    *,
    labelled: Sequence[int] | None = (1, 2, 3),
    seed: int = 0,
) -> Path:
    """A store of one case a shape; `labelled` are the classes its labels cover, None stores no labels."""
    store = SliceStore.create(path, StoreConfig(labels=ORGANS))
    for index, shape in enumerate(shapes):
        rng = np.random.default_rng((seed, index))
        classes = blobs(shape, rng)
        hu = paint(classes, rng)
        name = f"case{seed}{index}"
        header = CaseHeader(
            name=name,
            source=source_grid(shape),
            source_name=f"{name}.nii.gz",
            source_sha256=f"{seed}-{index}",
            label_set=ORGANS,
            labelled=() if labelled is None else tuple(labelled),
        )
        write_case(store.case_path(name), header, hu, None if labelled is None else classes, compression="none")
    return path


def blobs(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """uint8 (Z, H, W): a blob on either side and a bar in the middle, absent from the lowest and highest slice."""
    depth, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    classes = np.zeros(shape, dtype=np.uint8)
    for z in range(1, depth - 1):
        row = height / 2 + rng.uniform(-3, 3)
        for organ, place in ((1, 0.72), (2, 0.28)):
            inside = ((rows - row) / 9) ** 2 + ((columns - place * width) / 6) ** 2 < 1
            classes[z][inside] = organ
        classes[z, int(0.8 * height) : int(0.9 * height), int(0.4 * width) : int(0.6 * width)] = 3
    return classes


def paint(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int16 HU (Z, H, W): each class at its own HU, with noise."""
    means = np.array([-60.0, 60.0, 110.0, 200.0])
    return (means[classes] + rng.normal(0, 8, classes.shape)).astype(np.int16)


def source_grid(shape: tuple[int, int, int]):
    """A canonical grid (Z, H, W) of these sides."""
    affine = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    depth, height, width = shape
    return Volume.from_source(np.zeros((width, height, depth), dtype=np.int16), affine).source
