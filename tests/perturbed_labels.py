"""A prediction and a truth out of one real label map, made to hold every oddity of FLARE22's official script."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np


def write_pair(source: Path, predicted: Path, true: Path, *, mirrored: bool) -> None:
    """Write the two from a label map thinned out in plane; `mirrored` stores them from left to right and back to front.

    The organs move by a voxel or two; 7 is gone from the prediction, 8 from the truth, 9 from both; most of 4 misses;
    10 goes on beyond its true last slice.
    """
    stored = nibabel.load(source)
    ids = np.asarray(stored.dataobj).astype(np.uint8)[::3, ::3]
    affine = stored.affine @ np.diag([3, 3, 1, 1])
    if mirrored:
        ids, affine = np.ascontiguousarray(ids[::-1, ::-1]), affine @ np.diag([-1, -1, 1, 1])
    moved = np.roll(ids, (1 if mirrored else 2, -1, 1), axis=(0, 1, 2))
    beside = np.roll(ids == 4, (11, 8, 0), axis=(0, 1, 2))
    moved[np.isin(moved, (4, 7, 9))] = 0
    moved[beside & (moved == 0)] = 4
    ids[np.isin(ids, (8, 9))] = 0
    last = int(np.flatnonzero((ids == 10).any(axis=(0, 1)))[-1])
    moved[100:104, 100:104, last:] = 10
    for path, array in ((predicted, moved), (true, ids)):
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
