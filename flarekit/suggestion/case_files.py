"""A suggestion from files: a CT, the label map drawn so far, and the one that was carried from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.config.suggestion import SuggestionConfig
from flarekit.labels import IGNORE, LabelSet
from flarekit.propagation.label_map import as_objects, read_drawing
from flarekit.suggestion.carried import Annotated, Carrier, Known, object_px
from flarekit.suggestion.gathering import gather, reference_areas
from flarekit.suggestion.ranking import Ranking, rank
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid
from flarekit.volumes.hu import AUTO, HuOffset


@dataclass(frozen=True, kw_only=True)
class SuggestionFiles:
    """The files of one case."""

    image: Path  # the CT
    drawn: Path | None = None  # the label map drawn on some of its slices; None before the first
    partial: bool = False  # a slice of it says nothing of the organs that it does not hold
    carried: Path | None = None  # what was propagated from it; None: it is propagated to where it is needed
    series: str | None = None  # which of a DICOM folder's series
    hu_offset: HuOffset = AUTO  # what is taken off the CT's values to make them HU


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """A ranking, and what a reader needs to make sense of it."""

    image: Volume
    ranking: Ranking
    ids: tuple[int, ...]  # label ids, by the rows that the ranking's reasons name
    names: tuple[str, ...]  # of these organs
    annotated: tuple[int, ...]  # slice numbers, ascending
    masks: dict[int, np.ndarray]  # uint8 (H, W) of suggested slices: row + 1 where an organ is held to be now


def suggest_files(
    case: SuggestionFiles,
    propagation: Loaded,
    reference: Loaded | None,
    config: SuggestionConfig,
    *,
    count: int,
    slices: Sequence[int] | None,
    ids: Collection[int] | None,
    labels: LabelSet,
    device: torch.device,
) -> Suggested:
    """The `count` slices to draw next, for the organs with these `ids`: by default all of `labels`, and all drawn.

    `slices` are the annotated ones as numbers in the file, by default those that hold a label. Raises InputError
    when files cannot be read or lie on different grids, UsageError on slices outside the volume.
    """
    image = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
    drawn = _on_grid(case.drawn, image)
    drawing = None if drawn is None else read_drawing(drawn, slices, partial=case.partial)
    organs = tuple(sorted(ids or {*labels.ids, *(drawing.ids if drawing else ())}))[: IGNORE - 1]
    names = tuple(_name(number, labels) for number in organs)
    annotated = {z: as_objects(drawing.masks.array[z], organs) for z in drawing.slices} if drawing else {}
    known = {z: _shown(classes, len(organs)) | (not case.partial) for z, classes in annotated.items()}
    carrier = Carrier(image, propagation, PropagationConfig(), device)
    carried = _on_grid(case.carried, image)
    areas_px = None if carried is None else _areas_px(carried.array, organs)
    areas = reference_areas(image, reference, names, config, device)
    evidence = gather(image, annotated, areas, carrier, config, known=known, areas_px=areas_px)
    ranking = rank(evidence, count, config)
    top = [suggestion.z for suggestion in ranking.suggestions]
    masks = _present(top, annotated, known, organs, carrier, carried)
    return Suggested(image=image, ranking=ranking, ids=organs, names=names, annotated=tuple(annotated), masks=masks)


def _on_grid(path: Path | None, image: Volume) -> Volume | None:
    """A label map in the CT's own axes."""
    if path is None:
        return None
    masks = read_labels(path, like=image)
    require_same_grid(image, masks)
    return replace(image, array=masks.array, path=masks.path)


def _areas_px(ids: np.ndarray, organs: Sequence[int]) -> np.ndarray:
    """(K, Z) pixels of each organ on each slice."""
    return np.array([object_px(as_objects(plane, organs), len(organs)) for plane in ids]).T


def _present(
    top: Sequence[int],
    annotated: Annotated,
    known: Known,
    organs: Sequence[int],
    carrier: Carrier,
    carried: Volume | None,
) -> dict[int, np.ndarray]:
    """Masks (H, W) of these slices as they are now; none before anything is drawn."""
    if carried is not None:
        return {z: as_objects(carried.array[z], organs) for z in top}
    if not any(classes.any() for classes in annotated.values()):
        return {}
    masks = carrier.masks(annotated, len(organs), top, known=known)
    return {z: masks[z] for z in top}


def _shown(rows: np.ndarray, organs: int) -> np.ndarray:
    """(K,) bool: the organs on a slice of `as_objects`."""
    return object_px(rows, organs) > 0


def _name(number: int, labels: LabelSet) -> str:
    return labels.names[labels.ids.index(number)] if number in labels.ids else f"label {number}"
