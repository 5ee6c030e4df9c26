"""Segment a case: a few slices by the reference module, the best of them propagated to all others.

Paper, section 2.2. Probabilities exist for the slices at hand only; the volume is held as int16 HU and uint8
classes. The second look at organs in doubt is ours (`flarekit.reference.sampling`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from tqdm import tqdm

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.config.segment import SegmentConfig
from flarekit.data.slices import VolumeSlices
from flarekit.models import STCN
from flarekit.pipeline.segmentation import Assembly, SecondPass, Segmentation
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.propagation import fill_slices
from flarekit.reference import (
    ReferenceModule,
    SliceEvidence,
    doubtful_organs,
    second_look,
    select_references,
    uniform_slices,
)
from flarekit.reference.evidence import OrganTable
from flarekit.volumes import Volume

logger = logging.getLogger(__name__)


def segment(
    volume: Volume, reference: ReferenceModule, propagation: Loaded | None, config: SegmentConfig
) -> Segmentation:
    """The mask of a CT, with the volume and confidence of every organ.

    Without `propagation` the reference module sees every slice. The propagation runs on the reference module's
    device; each checkpoint brings its own preprocessing. Progress goes to stderr when that is a terminal.
    """
    if propagation is None:
        return _segment_every_slice(volume, reference)
    watch = Stopwatch()
    slices = VolumeSlices(volume, reference.preprocessing)
    sampled = uniform_slices(len(slices), volume.spacing_mm[0], config.sampling)
    with watch.stage("reference"):
        evidence = list(look(reference, slices, sampled, "reference slices"))
    with watch.stage("second pass"):
        evidence, second = _look_again(evidence, reference, slices, config)
    references = select_references(_table(evidence, volume), config.selection)
    assembly = Assembly(volume.array.shape, reference.labels)
    with watch.stage("propagation"):
        chosen = [item for item in evidence if item.z in references]
        _fill(assembly, volume, chosen, propagation, reference.device, config.propagation)
    return Segmentation(
        classes=assembly.classes,
        organs=assembly.organs(volume.voxel_ml),
        sampled=sampled,
        second_pass=second,
        references=references,
        seconds=watch.seconds,
    )


def look(
    reference: ReferenceModule, slices: VolumeSlices, numbers: Sequence[int], title: str
) -> Iterator[SliceEvidence]:
    """What the reference module sees on each of the slices with these numbers."""
    predictions = reference.probabilities(slices, numbers)
    progress = tqdm(predictions, total=len(numbers), desc=title, unit="slice", disable=None, leave=False)
    for z, probabilities in progress:
        yield SliceEvidence.of(z, probabilities, slices.grid)


def _segment_every_slice(volume: Volume, reference: ReferenceModule) -> Segmentation:
    watch, slices = Stopwatch(), VolumeSlices(volume, reference.preprocessing)
    numbers = tuple(range(len(slices)))
    assembly = Assembly(volume.array.shape, reference.labels)
    with watch.stage("reference"):
        for item in look(reference, slices, numbers, "all slices"):
            assembly.add(item.z, item.classes, item.area_px, item.certainty_px)
    return Segmentation(
        classes=assembly.classes,
        organs=assembly.organs(volume.voxel_ml),
        sampled=numbers,
        second_pass=None,
        references=(),
        seconds=watch.seconds,
    )


def _look_again(
    evidence: list[SliceEvidence], reference: ReferenceModule, slices: VolumeSlices, config: SegmentConfig
) -> tuple[list[SliceEvidence], SecondPass]:
    """The evidence with that of the second pass added, and what the second pass was about."""
    table = _table(evidence, slices.volume)
    names = reference.labels.names
    denser = second_look(table, len(slices), config.second_pass)
    added = list(look(reference, slices, denser, "second pass"))
    seen = {c for item in evidence for c in item.area_px.nonzero()[0]}
    found = {c for item in added for c in item.area_px.nonzero()[0]} - seen
    second = SecondPass(
        doubtful=tuple(names[organ] for organ in doubtful_organs(table, config.second_pass)),
        slices=denser,
        found=tuple(name for c, name in enumerate(names, start=1) if c in found),
    )
    if added:
        new = f"; found {', '.join(second.found)}" if second.found else ""
        logger.info("Second pass: %d more slices for %s%s.", len(added), ", ".join(second.doubtful), new)
    return evidence + added, second


def _fill(
    assembly: Assembly,
    volume: Volume,
    references: Sequence[SliceEvidence],
    propagation: Loaded,
    device: torch.device,
    config: PropagationConfig,
) -> None:
    """The references' own masks, and on all other slices what is propagated from them."""
    for item in references:
        assembly.add(item.z, item.classes, item.area_px, item.certainty_px)
    organs = sorted({int(c) for item in references for c in item.area_px.nonzero()[0]} - {0})
    if not organs:
        logger.warning("No organ was found on the slices looked at: the mask is empty.")
        return
    class_of = np.array([0, *organs], dtype=np.uint8)
    object_of = np.zeros(256, dtype=np.uint8)
    object_of[organs] = range(1, len(class_of))
    slices = VolumeSlices(volume, propagation.card.preprocessing)
    annotated = {item.z: object_of[item.classes] for item in references}
    network = cast(STCN, propagation.networks["stcn"]).to(device)
    for filled in fill_slices(network, slices, annotated, len(organs), config):
        if filled.z not in annotated:
            assembly.add_propagated(filled.z, class_of[filled.classes], organs, filled.confidence)


def _table(evidence: Sequence[SliceEvidence], volume: Volume) -> OrganTable:
    return OrganTable.of(evidence, volume.spacing_mm[1] * volume.spacing_mm[2])
