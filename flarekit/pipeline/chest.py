"""Is a CT one of the chest? Told by its lungs, as networks that never saw a heart take it for organs that they know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from flarekit.check.findings import WARNING
from flarekit.pipeline.flags import Flag

_LUNG_HU = (-950, -600)  # air in bowel is darker, fat brighter
_TISSUE_HU = -300  # fat and all that is denser
# Of lungs and all that is denser than air, where lungs are more than their lower ends. Two crops of real chests have
# more on 70 and 84 % of their slices, 25 painted CTs of abdomens on a third at most, and two real ones on none.
_LUNG_SHARE = 0.3
_CHEST_SLICES = 0.5
_OF_THE_CHEST = ("heart", "lung")


def chest_flags(hu: np.ndarray, organs: Iterable[str]) -> Iterator[Flag]:
    """A warning where lungs fill most slices of a CT, (Z, H, W) in HU, for networks that know no organ of the chest."""
    if any(part in organ for organ in organs for part in _OF_THE_CHEST):
        return
    lungs = sum(_shows_lungs(plane) for plane in hu)
    if lungs > _CHEST_SLICES * len(hu):
        text = (
            f"lungs fill {lungs} of {len(hu)} slices: is it a CT of the chest? "
            "Heart and vessels may be taken for organs of the abdomen, with confidence."
        )
        yield Flag(severity=WARNING, code="chest", text=text)


def _shows_lungs(plane: np.ndarray) -> bool:
    low, high = _LUNG_HU
    lung = np.count_nonzero((plane > low) & (plane < high))
    return bool(lung > _LUNG_SHARE * (lung + np.count_nonzero(plane > _TISSUE_HU)))
