"""Segment a case: a few slices by the reference module, the best of them propagated to all others.

Paper, section 2.2. Probabilities exist for the slices at hand only, and of sampled ones until references are chosen;
the volume is held as int16 HU and uint8 classes. Ours are the second look at organs in doubt
(`flarekit.reference.sampling`), references settled by their HU (`flarekit.reference.intensities`), and that small
pieces are dropped (`flarekit.pipeline.pieces`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from flarekit.checkpoints import Loaded
from flarekit.config.segment import SegmentConfig
from flarekit.data.native import native_classes
from flarekit.data.slices import VolumeSlices
from flarekit.pipeline.carrying import carry
from flarekit.pipeline.maps import Sink
from flarekit.pipeline.pieces import small_pieces
from flarekit.pipeline.segmentation import Assembly, SecondPass, Segmentation
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.reference import (
    ReferenceModule,
    SeenIntensities,
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

    Without `propagation` the reference module sees every slice, and its masks are kept but for small pieces. The
    propagation runs on the reference module's device; each checkpoint brings its own preprocessing. `sinks` get the
    probabilities that every slice is decided by: the reference module's where its mask is kept, the propagation's
    elsewhere, outlines and HU included; what is dropped as a small piece is still in them. Progress goes to stderr when
    that is a terminal. Raises CheckpointError for values that are not finite, and OutOfMemory.
    """
    watch = Stopwatch()
    look = Look.through(volume, reference.flipping() if config.flips else reference, sinks)
    assembly = Assembly(volume.array.shape, reference.labels)
    chosen: list[SliceEvidence] = []
    second: SecondPass | None = None
    if propagation is None:
        sampled = tuple(range(len(look.slices)))
        with watch.stage("reference"):
            for item in look.at(sampled, "all slices"):
                assembly.add(item.z, item.classes, item.area_px, item.certainty_px)
    else:
        sampled = uniform_slices(len(look.slices), volume.spacing_mm[0], config.sampling)
        chosen, second = _references(look, sampled, config, watch)
        with watch.stage("propagation"):
            carry(assembly, volume, chosen, propagation, reference.device, config.propagation, sinks)
    for organ, box, mask in small_pieces(assembly.classes, reference.labels.names, config.least_piece):
        assembly.drop(organ, box, mask)
    return Segmentation(
        classes=assembly.classes,
        organs=assembly.organs(volume.voxel_ml, look.votes.agreement),
        certainty=assembly.certainty(),
        sampled=sampled,
        second_pass=second,
        references=tuple(item.z for item in chosen),
        seconds=watch.seconds,
    )


@dataclass(frozen=True)
class Look:
    """A reference module that looks at slices of one CT, and who is told what it sees."""

    reference: ReferenceModule
    slices: VolumeSlices
    votes: Votes  # of its networks one by one
    sinks: Sequence[Sink]  # get the probabilities

    @classmethod
    def through(cls, volume: Volume, reference: ReferenceModule, sinks: Sequence[Sink]) -> Look:
        """At the slices of a CT, none of them seen so far."""
        slices = VolumeSlices(volume, reference.preprocessing)
        return cls(reference, slices, Votes(reference.labels.classes), sinks)

    def at(
        self, numbers: Sequence[int], title: str, intensities: SeenIntensities | None = None
    ) -> Iterator[SliceEvidence]:
        """What is seen on the slices with these numbers; `intensities` are told, too."""
        predictions = self.reference.probabilities(self.slices, numbers, self.votes)
        for z, seen in tqdm(predictions, total=len(numbers), desc=title, unit="slice", disable=None, leave=False):
            if self.sinks:
                self.tell(z, self.slices.grid.from_network(seen[None])[0])
            classes, winning = native_classes(seen, self.slices.grid)
            item = SliceEvidence.won(z, classes, winning, seen.flatten(1).amax(1))
            if intensities is not None:
                intensities.add(z, seen, item.classes, winning.cpu().numpy())
            yield item

    def tell(self, z: int, probabilities: Tensor) -> None:
        """The sinks: slice z's probabilities (C, H, W) in its own pixels."""
        for sink in self.sinks:
            sink.add(z, probabilities)

    def table(self, evidence: Sequence[SliceEvidence]) -> OrganTable:
        """Of what was seen on some slices."""
        _, height_mm, width_mm = self.slices.volume.spacing_mm
        return OrganTable.of(evidence, height_mm * width_mm)


def _references(
    look: Look, sampled: Sequence[int], config: SegmentConfig, watch: Stopwatch
) -> tuple[list[SliceEvidence], SecondPass]:
    """The slices to propagate from, as their HU settle them, and what the second pass was about."""
    labels, intensities = look.reference.labels, None
    if config.intensities.use:
        intensities = SeenIntensities(look.slices.volume, look.slices.grid, labels.classes, config.intensities)
    with watch.stage("reference"):
        evidence = list(look.at(sampled, "reference slices", intensities))
    with watch.stage("second pass"):
        evidence, second = _look_again(evidence, look, config, intensities)
    look.reference.rest()
    references = select_references(look.table(evidence), config.selection)
    if intensities is None:
        return [item for item in evidence if item.z in references], second
    settled = []
    for item, probabilities in intensities.settled(references):
        look.tell(item.z, probabilities)
        settled.append(item)
    return settled, second


def _look_again(
    evidence: list[SliceEvidence], look: Look, config: SegmentConfig, intensities: SeenIntensities | None
) -> tuple[list[SliceEvidence], SecondPass]:
    """The evidence with that of the second pass added, and what the second pass was about."""
    table = look.table(evidence)
    names = look.reference.labels.names
    denser = second_look(table, len(look.slices), config.second_pass)
    added = list(look.at(denser, "second pass", intensities))
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
