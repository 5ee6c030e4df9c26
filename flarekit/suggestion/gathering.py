"""The evidence of a CT and the slices annotated so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from flarekit.checkpoints import Loaded
from flarekit.config.suggestion import SuggestionConfig
from flarekit.data.slices import VolumeSlices
from flarekit.reference.evidence import OrganTable, SliceEvidence
from flarekit.reference.predict import ReferenceModule
from flarekit.suggestion.carried import Annotated, Carrier, Known, all_known, object_px
from flarekit.suggestion.evidence import Evidence, largest_run
from flarekit.volumes import Volume


def looked_at(image: Volume, config: SuggestionConfig) -> range:
    """The slices that networks look at."""
    return range(0, len(image.array), max(1, round(config.look_mm / image.spacing_mm[0])))


def reference_areas(
    image: Volume, reference: Loaded | None, organs: Sequence[str], config: SuggestionConfig, device: torch.device
) -> np.ndarray:
    """(K, Z) mm2 of the organs by name as the reference networks see them.

    0 for organs that they do not know, and without such networks.
    """
    areas = np.zeros((len(organs), len(image.array)))
    if reference is None:
        return areas
    module = ReferenceModule(reference, device=device)
    slices = VolumeSlices(image, module.preprocessing)
    numbers = looked_at(image, config)
    seen = [SliceEvidence.of(z, planes, slices.grid) for z, planes in module.probabilities(slices, numbers)]
    table = OrganTable.of(seen, image.spacing_mm[1] * image.spacing_mm[2])
    for row, organ in enumerate(organs):
        if organ in module.labels.names:
            found = table.area_mm2[:, module.labels.class_of(organ) - 1]
            areas[row] = np.interp(np.arange(areas.shape[1]), numbers, largest_run(found))
    return areas


def gather(
    image: Volume,
    annotated: Annotated,
    reference_mm2: np.ndarray,
    carrier: Carrier,
    config: SuggestionConfig,
    *,
    known: Known | None = None,
    areas_px: np.ndarray | None = None,
) -> Evidence:
    """The evidence once these slices are annotated; objects are the rows of `reference_mm2` (K, Z).

    Slices are annotated for all objects without `known`. `areas_px` (K, Z) are those of a whole label map that was
    carried before.
    """
    objects, depth = reference_mm2.shape
    pixel_mm2 = image.spacing_mm[1] * image.spacing_mm[2]
    known = known or all_known(annotated, objects)
    drawn = np.zeros((objects, depth), dtype=bool)
    drawn_mm2 = np.zeros((objects, depth))
    for z, classes in annotated.items():
        drawn[:, z] = known[z]
        drawn_mm2[:, z] = object_px(classes, objects) * pixel_mm2
    propagated_mm2 = np.zeros((objects, depth))
    disagreement, confidence = np.full((2, objects, depth), np.nan)
    if drawn_mm2.any():
        carried = carrier.look(annotated, objects, looked_at(image, config), known=known)
        propagated_mm2 = _everywhere(carried.slices, carried.area_px, depth) * pixel_mm2
        propagated_mm2[drawn] = drawn_mm2[drawn]
        disagreement = _everywhere(carried.slices, carried.disagreement, depth)
        confidence = _everywhere(carried.slices, carried.confidence, depth)
    return Evidence(
        spacing_mm=image.spacing_mm[0],
        drawn=drawn,
        drawn_mm2=drawn_mm2,
        reference_mm2=reference_mm2,
        propagated_mm2=propagated_mm2 if areas_px is None else areas_px * pixel_mm2,
        disagreement=disagreement,
        confidence=confidence,
    )


def _everywhere(slices: Sequence[int], rows: np.ndarray, depth: int) -> np.ndarray:
    """Rows (K, Z) from their values (K, S) on some slices, linear in between."""
    return np.array([np.interp(np.arange(depth), slices, row) for row in rows])
