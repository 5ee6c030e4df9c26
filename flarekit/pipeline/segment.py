"""Segment a case: a few slices by the reference module, the best of them propagated to all others.

Paper, section 2.2. Probabilities exist for the slices at hand only; the volume is held as int16 HU and uint8
classes. Ours are the second look at organs in doubt (`flarekit.reference.sampling`), and that what is carried past an
organ's ends (`flarekit.pipeline.reach`) and small pieces (`flarekit.pipeline.pieces`) are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from flarekit.checkpoints import Loaded
from flarekit.config.segment import SegmentConfig
from flarekit.data.slices import VolumeSlices
from flarekit.pipeline.carrying import carry
from flarekit.pipeline.maps import Sink
from flarekit.pipeline.pieces import small_pieces
from flarekit.pipeline.reach import out_of_reach
from flarekit.pipeline.segmentation import Assembly, SecondPass, Segmentation
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.reference import (
    ReferenceModule,
    SliceEvidence,
    Votes,
    doubtful_organs,
    second_look,
    select_references,
    uniform_slices,
)
from flarekit.reference.evidence import OrganTable
from flarekit.volumes import Volume

logger = logging.getLogger(__name__)


def segment(
    volume: Volume,
    reference: ReferenceModule,
    propagation: Loaded | None,
    config: SegmentConfig,
    *,
    sinks: Sequence[Sink] = (),
) -> Segmentation:
    """The mask of a CT, with the volume and confidence of every organ.

    Without `propagation` the reference module sees every slice. The propagation runs on the reference module's
    device; each checkpoint brings its own preprocessing. `sinks` get the probabilities that every slice is decided
    by: the reference module's where its mask is kept, the propagation's elsewhere, outlines and HU included; what is
    dropped is still in them. Progress goes to stderr when that is a terminal. Raises CheckpointError
    for values that are not finite, and OutOfMemory.
    """
    reference = reference.flipping() if config.flips else reference
    if propagation is None:
        return _segment_every_slice(volume, reference, config, sinks)
    watch = Stopwatch()
    slices, votes = VolumeSlices(volume, reference.preprocessing), Votes(reference.labels.classes)
    sampled = uniform_slices(len(slices), volume.spacing_mm[0], config.sampling)
    with watch.stage("reference"):
        evidence = list(look(reference, slices, sampled, "reference slices", sinks, votes))
    with watch.stage("second pass"):
        evidence, second = _look_again(evidence, reference, slices, config, sinks, votes)
    reference.rest()
    table = _table(evidence, volume)
    references = select_references(table, config.selection)
    assembly = Assembly(volume.array.shape, reference.labels)
    with watch.stage("propagation"):
        chosen = [item for item in evidence if item.z in references]
        carry(assembly, volume, chosen, propagation, reference.device, config.propagation, sinks)
    _drop_out_of_reach(assembly, table, config)
    _drop_small_pieces(assembly, config)
    return Segmentation(
        classes=assembly.classes,
        organs=assembly.organs(volume.voxel_ml, votes.agreement),
        certainty=assembly.certainty(),
        sampled=sampled,
        second_pass=second,
        references=references,
        seconds=watch.seconds,
    )


def look(
    reference: ReferenceModule,
    slices: VolumeSlices,
    numbers: Sequence[int],
    title: str,
    sinks: Sequence[Sink] = (),
    votes: Votes | None = None,
) -> Iterator[SliceEvidence]:
    """What the reference module sees on each of the slices with these numbers.

    `sinks` get the probabilities, `votes` those of its networks one by one.
    """
    predictions = reference.probabilities(slices, numbers, votes)
    progress = tqdm(predictions, total=len(numbers), desc=title, unit="slice", disable=None, leave=False)
    for z, probabilities in progress:
        if sinks:
            native = slices.grid.from_network(probabilities[None])[0]
            for sink in sinks:
                sink.add(z, native)
        yield SliceEvidence.of(z, probabilities, slices.grid)


def _segment_every_slice(
    volume: Volume, reference: ReferenceModule, config: SegmentConfig, sinks: Sequence[Sink]
) -> Segmentation:
    watch, slices, votes = Stopwatch(), VolumeSlices(volume, reference.preprocessing), Votes(reference.labels.classes)
    numbers = tuple(range(len(slices)))
    assembly = Assembly(volume.array.shape, reference.labels)
    with watch.stage("reference"):
        for item in look(reference, slices, numbers, "all slices", sinks, votes):
            assembly.add(item.z, item.classes, item.area_px, item.certainty_px)
    _drop_small_pieces(assembly, config)
    return Segmentation(
        classes=assembly.classes,
        organs=assembly.organs(volume.voxel_ml, votes.agreement),
        certainty=assembly.certainty(),
        sampled=numbers,
        second_pass=None,
        references=(),
        seconds=watch.seconds,
    )


def _look_again(
    evidence: list[SliceEvidence],
    reference: ReferenceModule,
    slices: VolumeSlices,
    config: SegmentConfig,
    sinks: Sequence[Sink],
    votes: Votes,
) -> tuple[list[SliceEvidence], SecondPass]:
    """The evidence with that of the second pass added, and what the second pass was about."""
    table = _table(evidence, slices.volume)
    names = reference.labels.names
    denser = second_look(table, len(slices), config.second_pass)
    added = list(look(reference, slices, denser, "second pass", sinks, votes))
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


def _drop_out_of_reach(assembly: Assembly, table: OrganTable, config: SegmentConfig) -> None:
    for organ, beyond in out_of_reach(table, len(assembly.classes), config.reach_mm2):
        assembly.drop(organ, (beyond, slice(None), slice(None)), assembly.classes[beyond] == organ)


def _drop_small_pieces(assembly: Assembly, config: SegmentConfig) -> None:
    for organ, box, mask in small_pieces(assembly.classes, assembly.labels.names, config.least_piece):
        assembly.drop(organ, box, mask)


def _table(evidence: Sequence[SliceEvidence], volume: Volume) -> OrganTable:
    return OrganTable.of(evidence, volume.spacing_mm[1] * volume.spacing_mm[2])
