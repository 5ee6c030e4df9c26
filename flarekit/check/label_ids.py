"""Whether a label map's ids are those of its data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from flarekit.check.findings import ERROR, LABEL, NOTE, WARNING, Finding
from flarekit.check.sides import side_findings
from flarekit.check.stored import StoredVolume, scaled
from flarekit.errors import InputError
from flarekit.labels import LabelSet
from flarekit.volumes.values import to_ids

NOT_IDS = "not-ids"
_ROUNDING = 0.05  # how far from whole numbers ids may lie that were scaled to fit a narrow type


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What a data set says about the ids in its label maps."""

    organs: LabelSet  # their names and ids
    renumber: Mapping[int, int] = field(default_factory=dict)  # ids that files hold in place of others

    def meant(self, ids: Iterable[int]) -> set[int]:
        """The ids, renumbered."""
        return {self.renumber.get(number, number) for number in ids}


def read_ids(stored: StoredVolume) -> np.ndarray:
    """Ids (Z, H, W) of a label map, as `read_labels` gives them, rounded where they are next to whole numbers.

    Raises InputError when they are not.
    """
    volume = stored.volume
    if volume.path is None:
        raise ValueError("a label map that is checked comes from a file")
    return to_ids(volume.array, stored.raw, volume.path, tolerance=_ROUNDING)


def count_ids(ids: np.ndarray) -> dict[int, int]:
    """Voxels of every id but 0, ascending."""
    if ids.dtype == np.uint8:
        voxels = np.sum([np.bincount(plane.ravel(), minlength=256) for plane in ids], axis=0)
        return {number: int(voxels[number]) for number in np.flatnonzero(voxels).tolist() if number}
    counts: Counter[int] = Counter()
    for plane in ids:  # unique sorts a copy
        numbers, voxels = np.unique(plane, return_counts=True)
        counts.update(dict(zip(numbers.tolist(), voxels.tolist(), strict=True)))
    return {number: counts[number] for number in sorted(counts) if number}


def label_findings(
    stored: StoredVolume, labelled: Sequence[int], naming: Naming | None
) -> tuple[dict[int, int], list[Finding]]:
    """Voxels by id, and what is wrong with them; `labelled` are the classes that the label map should cover."""
    try:
        ids = read_ids(stored)
    except InputError as error:
        return {}, [Finding(severity=ERROR, code=NOT_IDS, file=LABEL, text=f"{error.what}. {error.remedy}")]
    voxels, findings = count_ids(ids), list(_type_findings(stored))
    if naming is not None:
        wrong = list(_id_findings(voxels, labelled, naming))
        findings += wrong
        if all(finding.severity != ERROR for finding in wrong):  # ids mean what they should
            findings += side_findings(ids, naming.organs)
    return voxels, findings


def _type_findings(stored: StoredVolume) -> Iterator[Finding]:
    if stored.volume.array.dtype.kind != "f" and not stored.raw.is_scaled:
        return
    if off := _off_whole(stored):
        yield Finding(
            severity=ERROR, code="rounding", file=LABEL, repair="ids rounded to whole numbers",
            text=f"ids lie up to {off:.2g} off whole numbers: they were scaled to fit their type. --fix rounds them.",
        )  # fmt: skip
    else:
        yield Finding(
            severity=NOTE, code="float-ids", file=LABEL, repair="ids stored as integers",
            text=f"ids are stored as {stored.volume.array.dtype}{', scaled' if stored.raw.is_scaled else ''}.",
        )  # fmt: skip


def _off_whole(stored: StoredVolume) -> float:
    values = (scaled(plane, stored.raw) for plane in stored.volume.array)
    return max(float(np.abs(plane - np.rint(plane)).max()) for plane in values)


def _id_findings(voxels: Mapping[int, int], labelled: Sequence[int], naming: Naming) -> Iterator[Finding]:
    organs = naming.organs
    named = dict(zip(organs.ids, organs.names, strict=True))
    renumbered = sorted(voxels.keys() & naming.renumber.keys())
    if renumbered:
        pairs = ", ".join(f"{old} to {naming.renumber[old]}" for old in renumbered)
        yield Finding(
            severity=ERROR, code="renumber", file=LABEL, repair=f"ids renumbered, {pairs}",
            text=f"holds ids that dataset.json renumbers, {pairs}: --fix does it.",
        )  # fmt: skip
    if unknown := sorted(voxels.keys() - named.keys() - naming.renumber.keys() - {organs.ignore_id}):
        yield Finding(
            severity=ERROR, code="unknown-ids", file=LABEL,
            text=f"holds ids {_some(unknown)} in {sum(voxels[u] for u in unknown)} voxels, which {organs.name!r} does "
            "not name. Describe the labels in dataset.json.",
        )  # fmt: skip
    if organs.ignore_id in voxels and len(labelled) < len(organs.names):
        yield Finding(
            severity=ERROR, code="ignored-in-part", file=LABEL,
            text=f"holds the ignore label {organs.ignore_id}, and is labelled for some organs only: preprocess could "
            "not tell what it ignores from what nobody looked for.",
        )  # fmt: skip
    found = {named[number] for number in naming.meant(voxels) if number in named}
    yield from _organ_findings(found, {organs.names[c - 1] for c in labelled}, organs)


def _organ_findings(found: set[str], labelled: set[str], organs: LabelSet) -> Iterator[Finding]:
    in_order = [name for name in organs.names if name in labelled]
    if not found:
        yield Finding(severity=WARNING, code="empty", file=LABEL, text="holds no organ.")
    elif missing := [name for name in in_order if name not in found]:
        yield Finding(severity=NOTE, code="missing-organs", file=LABEL, text=f"holds no {', '.join(missing)}.")
    if beyond := [name for name in organs.names if name in found - labelled]:
        yield Finding(
            severity=WARNING, code="unlabelled-organs", file=LABEL,
            text=f"holds {', '.join(beyond)}, which dataset.json does not say to be labelled: they are ignored.",
        )  # fmt: skip


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown}, ..." if len(numbers) > 5 else shown
