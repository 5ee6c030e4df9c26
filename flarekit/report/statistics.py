"""What is measured of each organ: HU, extent, pieces, and whether the scan cuts it off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from flarekit.check.findings import ERROR
from flarekit.volumes import Volume

NOT_FOUND = "no voxel was found"
NOT_HU = "the values are not HU"
NOT_MM = "the spacing cannot be in millimetres"
PADDING_HU = -1100  # nothing in a scan is thinner than air: below lies what the scanner did not see
_SIDES = (("bottom", "top"), ("front", "back"), ("right", "left"))  # of axes z, h, w: the patient's own
_OFFSET, _FIELD = "offset", "field-of-view"  # findings of `flarekit.check.volume`
TOUCHING = np.ones((3, 3, 3), dtype=bool)  # pieces are apart when not even corners touch


@dataclass(frozen=True, kw_only=True)
class OrganStatistics:
    """Measurements of one organ; what is None has its reason in `reasons`."""

    mean_hu: float | None = None
    sd_hu: float | None = None  # standard deviation over its voxels
    median_hu: float | None = None
    extent_mm: tuple[float, float, float] | None = None  # of the box around it along (z, h, w)
    pieces: int | None = None  # that do not touch each other, not even by a corner
    cut_at: tuple[str, ...] | None = None  # where the field of view ends in it: top, left, ..., `scan circle`
    reasons: dict[str, str] = field(default_factory=dict)  # why a measurement is None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, rounded."""
        return {
            "mean_hu": _rounded(self.mean_hu),
            "sd_hu": _rounded(self.sd_hu),
            "median_hu": _rounded(self.median_hu),
            "extent_mm": None if self.extent_mm is None else [round(mm, 1) for mm in self.extent_mm],
            "pieces": self.pieces,
            "cut_at": None if self.cut_at is None else list(self.cut_at),
            "reasons": self.reasons,
        }


@dataclass(frozen=True, kw_only=True)
class Units:
    """What a volume's numbers can be taken for."""

    are_hu: bool = True  # its values
    are_mm: bool = True  # its spacing

    @classmethod
    def of(cls, doubts: Iterable[Doubt]) -> Units:
        """As the findings about the volume say: no HU where an error or a lost offset speaks against them."""
        codes = {doubt.code for doubt in doubts if doubt.severity == ERROR or doubt.code == _OFFSET}
        return cls(are_hu=codes <= {_FIELD}, are_mm=_FIELD not in codes)


class Doubt(Protocol):
    """A finding of `flarekit.check`, or what was made of it."""

    @property
    def severity(self) -> str: ...

    @property
    def code(self) -> str: ...


def measure(
    volume: Volume, classes: np.ndarray, organs: Sequence[int], units: Units | None = None
) -> dict[int, OrganStatistics]:
    """Statistics of the organs (classes) of a mask uint8 (Z, H, W); without HU or mm where the units are others."""
    units = units or Units()
    histograms = _Histograms(volume.array, classes, max(organs, default=0) + 1)
    boxes = ndimage.find_objects(classes, max_label=max(organs, default=0) or 1)
    beside_padding = _beside_padding(volume.array, classes)
    return {c: _of_organ(volume, classes, c, boxes[c - 1], histograms, units, c in beside_padding) for c in organs}


def _of_organ(
    volume: Volume,
    classes: np.ndarray,
    organ: int,
    box: tuple[slice, slice, slice] | None,
    histograms: _Histograms,
    units: Units,
    is_beside_padding: bool,
) -> OrganStatistics:
    if box is None:
        names = ("mean_hu", "sd_hu", "median_hu", "extent_mm", "pieces", "cut_at")
        return OrganStatistics(reasons=dict.fromkeys(names, NOT_FOUND))
    extent_mm = tuple((part.stop - part.start) * mm for part, mm in zip(box, volume.spacing_mm, strict=True))
    mean, sd, median = histograms.moments(organ) if units.are_hu else (None, None, None)
    unknown = {} if units.are_hu else dict.fromkeys(("mean_hu", "sd_hu", "median_hu"), NOT_HU)
    unknown |= {} if units.are_mm else {"extent_mm": NOT_MM}
    return OrganStatistics(
        mean_hu=mean,
        sd_hu=sd,
        median_hu=median,
        extent_mm=extent_mm if units.are_mm else None,
        pieces=int(ndimage.label(classes[box] == organ, TOUCHING)[1]),
        cut_at=_cut_at(box, classes.shape) + (("scan circle",) if is_beside_padding else ()),
        reasons=unknown,
    )


class _Histograms:
    """Voxels of each class by their HU, counted slice by slice."""

    def __init__(self, hu: np.ndarray, classes: np.ndarray, count: int) -> None:
        self._low = int(hu.min())
        self._bins = int(hu.max()) - self._low + 1
        self._counts = np.zeros((count, self._bins), dtype=np.int64)
        for plane, own in zip(hu, classes, strict=True):
            inside = (own > 0) & (own < count)
            for c in np.unique(own[inside]):
                self._counts[c] += np.bincount(plane[own == c].astype(np.int64) - self._low, minlength=self._bins)

    def moments(self, organ: int) -> tuple[float, float, float]:
        """Mean, standard deviation and median HU of a class that has voxels."""
        counts = self._counts[organ]
        hu = np.arange(self._bins) + self._low
        total = counts.sum()
        mean = float(counts @ hu / total)
        sd = float(np.sqrt(counts @ (hu - mean) ** 2 / total))
        middle = np.searchsorted(np.cumsum(counts), [(total + 1) // 2, total // 2 + 1])
        return mean, sd, float(hu[middle].mean())


def _cut_at(box: tuple[slice, slice, slice], shape: tuple[int, ...]) -> tuple[str, ...]:
    sides = []
    for part, size, (low, high) in zip(box, shape, _SIDES, strict=True):
        sides += [low] if part.start == 0 else []
        sides += [high] if part.stop == size else []
    return tuple(sides)


def _beside_padding(hu: np.ndarray, classes: np.ndarray) -> set[int]:
    """Classes with a voxel beside one that the scanner did not see, on the same slice."""
    found: set[int] = set()
    for plane, own in zip(hu, classes, strict=True):
        if own.any() and plane.min() < PADDING_HU:
            reached = ndimage.binary_dilation(plane < PADDING_HU)
            found.update(np.unique(own[reached]).tolist())
    return found - {0}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
