"""A label map drawn on some slices of a CT in, the whole label map out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.errors import InputError, UsageError
from flarekit.labels import IGNORE
from flarekit.models import STCN
from flarekit.models.layout import laid_out_for
from flarekit.propagation.fill import fill_slices
from flarekit.report.slice_numbers import number_in_file
from flarekit.volumes import Volume, require_same_grid


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What an annotator drew."""

    masks: Volume  # label ids (Z, H, W); slices that are not annotated are not looked at
    slices: tuple[int, ...]  # the annotated slices, ascending; an empty one says that nothing is there
    ids: tuple[int, ...]  # the labels to carry, ascending
    partial: bool = False  # an annotated slice says nothing of the labels that it does not hold

    def known(self, z: int) -> np.ndarray:
        """(K,) bool: the labels that slice z is annotated for."""
        return np.isin(self.ids, self.masks.array[z]) | (not self.partial)


@dataclass(frozen=True, kw_only=True)
class Propagated:
    """A label map carried through its volume."""

    labels: Volume  # label ids (Z, H, W) in the dtype of the drawing; 0 on slices out of range
    filled: tuple[int, ...]  # slices on which at least one label was looked for, ascending
    confidence: np.ndarray  # (Z, K) float32 in 0..1, a column for each of the drawing's ids; NaN out of range


def read_drawing(
    masks: Volume, slices: Sequence[int] | None = None, ids: Collection[int] | None = None, *, partial: bool = False
) -> Drawing:
    """The drawing in a label map: by default all its labels, on all slices that hold one.

    A slice is annotated for all of them, unless it is `partial`: then for those alone that it holds.

    `slices` are numbers in the file (see `flarekit.report.slice_numbers`), the drawing's are canonical. Raises
    UsageError on slices outside the volume, InputError when nothing is drawn, or one of `ids` is not.
    """
    chosen = _labelled_slices(masks.array) if slices is None else _named_slices(masks, slices)
    drawn = [int(i) for i in np.unique(masks.array[chosen]) if i > 0]
    if not drawn:
        raise InputError("holds no label on the annotated slices", where=masks.path, remedy="Draw at least one slice.")
    if missing := sorted(set(ids or ()) - set(drawn)):
        raise InputError(
            f"has no annotated slice with label {missing[0]}", where=masks.path, remedy=f"Drawn are {drawn}."
        )
    wanted = tuple(i for i in drawn if ids is None or i in ids)
    if len(wanted) >= IGNORE:
        raise InputError(f"holds {len(wanted)} labels, at most {IGNORE - 1} are carried at a time", where=masks.path)
    return Drawing(masks=masks, slices=tuple(chosen), ids=wanted, partial=partial)


def propagate_drawing(
    image: Volume, drawing: Drawing, model: Loaded, config: PropagationConfig, device: torch.device
) -> Propagated:
    """The drawing on every slice in range; annotated slices come out as drawn, voxel by voxel.

    Only the drawing's ids are in the result. Progress goes to stderr. Raises InputError when CT and drawing are
    not on the same grid.
    """
    require_same_grid(image, drawing.masks)
    network = laid_out_for(model.networks["stcn"].to(device), device)
    assert isinstance(network, STCN)
    slices = VolumeSlices(image, model.card.preprocessing)
    annotated = {z: as_objects(drawing.masks.array[z], drawing.ids) for z in drawing.slices}
    table = np.array((0, *drawing.ids), dtype=drawing.masks.array.dtype)
    labels = np.zeros(image.array.shape, dtype=table.dtype)
    confidence = np.full((len(slices), len(drawing.ids)), np.nan, dtype=np.float32)
    known = {z: drawing.known(z) for z in drawing.slices}
    for filled in fill_slices(network, slices, annotated, len(drawing.ids), config, frame_mask=known):
        labels[filled.z] = table[filled.classes]
        confidence[filled.z] = filled.confidence
    given = () if config.refine else (z for z in known if known[z].all())
    answered = set(np.flatnonzero(~np.isnan(confidence[:, 0])).tolist()).difference(given)
    return Propagated(labels=drawing.masks.like(labels), filled=tuple(sorted(answered)), confidence=confidence)


def as_objects(ids: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """(H, W) uint8: object k's pixels as k + 1, from label ids (H, W)."""
    objects = np.zeros(ids.shape, dtype=np.uint8)
    for index, number in enumerate(wanted, start=1):
        objects[ids == number] = index
    return objects


def _named_slices(masks: Volume, numbers: Sequence[int]) -> list[int]:
    last = len(masks.array) - 1
    if outside := [number for number in sorted(numbers) if not 0 <= number <= last]:
        first_mm, last_mm = (masks.z_mm(number_in_file(masks, number)) for number in (0, last))
        raise UsageError(
            f"slice {outside[0]} is outside the volume",
            remedy=f"Slices are 0 ({first_mm:.1f} mm) to {last} ({last_mm:.1f} mm).",
        )
    return sorted({number_in_file(masks, number) for number in numbers})


def _labelled_slices(masks: np.ndarray) -> list[int]:
    return np.flatnonzero((masks > 0).any(axis=(1, 2))).tolist()
