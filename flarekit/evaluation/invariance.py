"""Does a CT give the same mask however it is stored? Masks of its disguises beside that of the CT itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np

from flarekit.errors import FlarekitError, UsageError
from flarekit.evaluation.dice import Overlap
from flarekit.evaluation.disguises import KINDS, RESAMPLED, Disguise
from flarekit.labels import IGNORE, LabelSet
from flarekit.volumes import Volume, read_volume, write_labels

Segmenter = Callable[[Volume], np.ndarray]  # a CT to its classes, uint8 (Z, H, W)


@dataclass(frozen=True, kw_only=True)
class DisguisedScores:
    """How a disguise's mask compares with that of the CT itself, at the voxels of the CT that the disguise shows."""

    kind: str
    name: str
    dice: dict[str, float] = field(default_factory=dict)  # by organ that either mask shows
    ceiling: float | None = None  # mean Dice of the CT's own mask brought to the disguise's grid and back
    error: str = ""  # why there is no mask

    @property
    def mean(self) -> float | None:
        """The mean over organs; None where neither mask shows one."""
        return fmean(self.dice.values()) if self.dice else None

    @property
    def lowest(self) -> str | None:
        """The organ that agrees least."""
        return min(self.dice, key=lambda organ: self.dice[organ], default=None)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, rounded."""
        entry: dict[str, Any] = {"kind": self.kind, "name": self.name}
        if self.error:
            return entry | {"error": self.error}
        return entry | {
            "mean": _rounded(self.mean),
            "lowest": self.lowest,
            "ceiling": _rounded(self.ceiling),
            "dice": {organ: round(value, 4) for organ, value in self.dice.items()},
        }


def parse_kinds(text: str) -> tuple[str, ...]:
    """Kinds of disguise with commas between. Raises UsageError."""
    named = tuple(part.strip() for part in text.split(","))
    if unknown := [name for name in named if name not in KINDS]:
        raise UsageError(f"unknown kind of disguise {unknown[0]!r}", remedy=f"Use some of {', '.join(KINDS)}.")
    return named


def compare_disguises(
    ct: Volume,
    segmenter: Segmenter,
    labels: LabelSet,
    kinds: Sequence[str] = tuple(KINDS),
    *,
    progress: Callable[[Iterator[Disguise]], Iterator[Disguise]] = iter,
) -> Iterator[DisguisedScores]:
    """The scores of every disguise, in the order of `kinds`; each goes through a file, and so does its mask.

    Files are written and masks read by nibabel, which knows nothing of flarekit's axes. Disguises that are read as the
    same voxels in the same spacing are segmented once: `segmenter` is held to be a function of them. A disguise that is
    refused has the reason as its error.
    """
    remembered = _Remembering(segmenter)
    own = remembered(ct)
    with TemporaryDirectory() as folder:
        for disguise in progress(each for kind in kinds for each in KINDS[kind](ct)):
            try:
                mask = _mask_of(disguise, remembered, Path(folder))
            except FlarekitError as error:
                what = str(error).replace(f"{folder}/", "")
                yield DisguisedScores(kind=disguise.kind, name=disguise.name, error=what)
                continue
            seen = brought(mask, disguise.affine, ct)
            yield DisguisedScores(
                kind=disguise.kind,
                name=disguise.name,
                dice=_dice(own, seen, labels),
                ceiling=_ceiling(own, ct, disguise, labels) if disguise.kind in RESAMPLED else None,
            )


def brought(classes: np.ndarray, affine: np.ndarray, target: Volume) -> np.ndarray:
    """uint8 (Z, H, W): at every voxel of `target` the nearest of classes (I, J, K); IGNORE where there is none."""
    step = np.linalg.inv(affine) @ target.affine
    depth, rows, columns = target.array.shape
    h, w = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    found = np.full(target.array.shape, IGNORE, dtype=np.uint8)
    for z in range(depth):
        places = [np.rint(row[0] * z + row[1] * h + row[2] * w + row[3]).astype(np.int64) for row in step[:3]]
        inside = np.all([(at >= 0) & (at < n) for at, n in zip(places, classes.shape, strict=True)], axis=0)
        found[z][inside] = classes[tuple(at[inside] for at in places)]
    return found


class _Remembering:
    """A segmenter that is not asked twice about the same voxels in the same spacing."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._known: dict[tuple[bytes, tuple[int, ...], tuple[float, ...]], np.ndarray] = {}

    def __call__(self, ct: Volume) -> np.ndarray:
        voxels = sha256(ct.array.tobytes()).digest()
        key = voxels, ct.array.shape, tuple(round(mm, 5) for mm in ct.spacing_mm)
        if key not in self._known:
            self._known[key] = self._segmenter(ct)
        return self._known[key]


def _mask_of(disguise: Disguise, segmenter: Segmenter, folder: Path) -> np.ndarray:
    """uint8 (I, J, K) classes on the disguise's own axes, read from the file that flarekit wrote."""
    image, mask = folder / "ct.nii", folder / "mask.nii"
    stored = nibabel.Nifti1Image(disguise.array, disguise.affine)
    stored.header.set_slope_inter(1.0, disguise.intercept)
    nibabel.save(stored, image)
    volume = read_volume(image)
    write_labels(mask, volume.like(segmenter(volume)), overwrite=True)
    return np.asarray(nibabel.Nifti1Image.from_filename(mask).dataobj)


def _ceiling(own: np.ndarray, ct: Volume, disguise: Disguise, labels: LabelSet) -> float | None:
    other = Volume.from_source(disguise.array, disguise.affine)
    there = brought(own, ct.affine, other)
    back = brought(other.like(there).to_source_axes(), disguise.affine, ct)
    scores = _dice(own, back, labels)
    return fmean(scores.values()) if scores else None


def _dice(own: np.ndarray, other: np.ndarray, labels: LabelSet) -> dict[str, float]:
    """Of the organs that either shows, where `other` is not IGNORE."""
    overlap = Overlap.of(own, other, len(labels.names))
    shown = overlap.predicted + overlap.true > 0
    return {name: float(overlap.dice[k]) for k, name in enumerate(labels.names) if shown[k]}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
