"""Whether left and right organs lie where their names say: the mirrored image that no header tells of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flarekit.check.findings import LABEL, WARNING, Finding
from flarekit.labels import LabelSet


def left_and_right(organs: LabelSet) -> Iterator[tuple[str, str]]:
    """The organs that are left and right by name, in pairs."""
    for name in organs.names:
        if "left" in name and (right := name.replace("left", "right")) in organs.names:
            yield name, right


def side_findings(ids: np.ndarray, organs: LabelSet) -> Iterator[Finding]:
    """A warning where a label map (Z, H, W) shows a right organ further to the patient's left than the left one."""
    id_of = dict(zip(organs.names, organs.ids, strict=True))
    wrong = []
    for left, right in left_and_right(organs):
        apart = _mean_column(ids, id_of[left]) - _mean_column(ids, id_of[right])  # columns run to the patient's left
        if apart < 0:  # not where one is missing, whose column is NaN
            wrong.append(f"{right} to the left of {left}")
    if wrong:
        text = f"shows {', '.join(wrong)}: are their ids exchanged, or is the volume mirrored?"
        yield Finding(severity=WARNING, code="sides", text=text, file=LABEL)


def _mean_column(ids: np.ndarray, number: int) -> float:
    total = voxels = 0
    for plane in ids:
        columns = np.flatnonzero(plane == number) % plane.shape[1]
        total, voxels = total + int(columns.sum()), voxels + columns.size
    return total / voxels if voxels else np.nan
