"""What a stored case says about itself: where it came from, how to go back, and what its labels mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flarekit.config.preprocessing import WindowPreset
from flarekit.labels import LabelSet
from flarekit.volumes import SourceGrid
from flarekit.volumes.hu import AUTO
from flarekit.volumes.orientation import Reorientation

FORMAT, VERSION = "flarekit-case", 1


@dataclass(frozen=True, kw_only=True)
class CaseHeader:
    """The attributes of a case's HDF5 file."""

    name: str  # of the case: the file's name without .h5
    source: SourceGrid  # grid of the file the CT came from
    source_name: str  # that file's name, without its folder
    source_sha256: str  # of that file
    label_set: LabelSet  # what classes mean
    labelled: tuple[int, ...] = ()  # classes that the case's labels cover; empty for a case without labels
    labels_sha256: str = ""  # of the label file; empty without labels
    baked: WindowPreset | None = None  # windows baked into `image`; None where `hu` is stored
    hu_offset: int = 0  # what was taken off the source's values to make them HU
    hu_offset_asked: str = AUTO  # what was asked to be taken off: auto, or a number
    painted: bool = False  # whether the CT is known to be one of `flarekit phantom`, and no patient's

    def to_attributes(self) -> dict[str, Any]:
        """Plain values that `from_attributes` reads back."""
        grid = self.source
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "source_name": self.source_name,
            "source_sha256": self.source_sha256,
            "labels_sha256": self.labels_sha256,
            "affine": grid.affine,
            "shape": grid.shape,
            "axes": grid.reorientation.axes,
            "flips": grid.reorientation.flips,
            "label_set": json.dumps(self.label_set.to_json()),
            "labelled": self.labelled,
            "windows": "" if self.baked is None else json.dumps(windows_to_json(self.baked)),
            "hu_offset": self.hu_offset,
            "hu_offset_asked": self.hu_offset_asked,
            "painted": self.painted,
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> CaseHeader:
        """The inverse of `to_attributes`. Raises ValueError or KeyError on other attributes."""
        if (attributes["format"], int(attributes["version"])) != (FORMAT, VERSION):
            raise ValueError(f"unknown format {attributes['format']} version {attributes['version']}")
        z, h, w = (int(axis) for axis in attributes["axes"])
        flip_z, flip_h, flip_w = (bool(flip) for flip in attributes["flips"])
        if sorted((z, h, w)) != [0, 1, 2]:
            raise ValueError(f"axes {z}, {h}, {w} are no order of three")
        i, j, k = (int(n) for n in attributes["shape"])
        windows = attributes["windows"]
        return cls(
            name=attributes["name"],
            source=SourceGrid(
                shape=(i, j, k),
                affine=np.array(attributes["affine"], dtype=np.float64),
                reorientation=Reorientation(axes=(z, h, w), flips=(flip_z, flip_h, flip_w)),
            ),
            source_name=attributes["source_name"],
            source_sha256=attributes["source_sha256"],
            labels_sha256=attributes["labels_sha256"],
            label_set=LabelSet.from_json(json.loads(attributes["label_set"])),
            labelled=tuple(int(c) for c in attributes["labelled"]),
            baked=windows_from_json(json.loads(windows)) if windows else None,
            hu_offset=int(attributes.get("hu_offset", 0)),  # absent in older files
            hu_offset_asked=str(attributes.get("hu_offset_asked", AUTO)),
            painted=bool(attributes.get("painted", False)),
        )


def windows_to_json(preset: WindowPreset) -> dict[str, Any]:
    """A plain dictionary that `windows_from_json` reads back."""
    return {"name": preset.name, "ranges_hu": [list(limits) for limits in preset.ranges_hu]}


def windows_from_json(data: Mapping[str, Any]) -> WindowPreset:
    """The inverse of `windows_to_json`. Raises ValueError or KeyError on other data."""
    ranges = tuple((float(low), float(high)) for low, high in data["ranges_hu"])
    return WindowPreset(name=str(data["name"]), ranges_hu=ranges)
