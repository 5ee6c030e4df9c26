"""Segmentation of a case from file to files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from flarekit import files
from flarekit.check import NOTE
from flarekit.config import toml
from flarekit.config.segment import OutputConfig, SegmentConfig
from flarekit.data.digest import digest
from flarekit.data.layouts import CaseFiles
from flarekit.pipeline.chest import chest_flags
from flarekit.pipeline.flags import Flag, organ_flags
from flarekit.pipeline.maps import ProbabilityMaps, Sink, UncertaintyMap
from flarekit.pipeline.models import ModelChoice, SegmentModels
from flarekit.pipeline.outputs import OutputFiles
from flarekit.pipeline.reading import read_case
from flarekit.pipeline.segment import segment
from flarekit.pipeline.segmentation import Segmentation
from flarekit.pipeline.sidecar import model_entry, sidecar
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.pipeline.writing import Maps, write_case
from flarekit.renumbering import WrittenLabels
from flarekit.report.statistics import Units, measure
from flarekit.volumes import Volume
from flarekit.volumes.dicom.segmentation_writing import require_highdicom, require_segmentable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How cases are segmented, and what is written of them."""

    models: ModelChoice
    labels: WrittenLabels  # the organs to write
    config: SegmentConfig
    output: OutputConfig
    force: bool = False  # also what cannot be a CT in HU

    @classmethod
    def of(
        cls,
        models: ModelChoice,
        config: SegmentConfig | None = None,
        output: OutputConfig | None = None,
        *,
        force: bool = False,
    ) -> Recipe:
        """With the organs that the output names. Raises UsageError or InputError as `WrittenLabels.of` does.

        Raises MissingDependency where a DICOM-SEG is wanted and highdicom is not installed.
        """
        output = output or OutputConfig()
        labels = WrittenLabels.of(models.labels, output.organs, output.label_map)
        if output.dicom_seg:
            require_highdicom()
            labels = labels.as_segments()
        return cls(models=models, labels=labels, config=config or SegmentConfig(), output=output, force=force)

    def identity(self, case: CaseFiles) -> dict[str, Any]:
        """The part of a case's JSON that says what it is made from, and how: the same for the same result."""
        return {
            "image_sha256": digest(case.image, case.series),
            "hu_offset_asked": str(case.hu_offset),
            "models": {part: model_entry(card) for part, card in self.models.cards.items()},
            "backend": self.models.backend,
            "labels": {str(number): name for number, name in self.labels.names.items()},
            "settings": toml.to_dict(self.config),
        }


@dataclass(frozen=True, kw_only=True)
class SegmentedCase:
    """A case whose files are written."""

    volume: Volume  # the CT, int16 HU
    segmentation: Segmentation  # of the organs that were asked for
    report: dict[str, Any]  # what its JSON says
    maps: Maps  # those that were asked for; of the probabilities no more than their files are left


def segment_case(
    case: CaseFiles, outputs: OutputFiles, recipe: Recipe, models: SegmentModels, *, overwrite: bool = False
) -> SegmentedCase:
    """Segment a file and write the mask, its JSON and what else is wanted.

    Raises InputError, OutputError, CheckpointError or OutOfMemory; then the folder is as it was.
    """
    overwrite = outputs.check(case.image, overwrite=overwrite)
    watch = Stopwatch()
    with watch.stage("read"):
        volume, doubts = read_case(case, force=recipe.force)
        if outputs.config.dicom_seg:
            require_segmentable(volume)
    with _maps(outputs, volume) as maps:
        found, report = segment_volume(volume, doubts, recipe, models, maps.sinks)
        report["seconds"] = watch.rounded() | report["seconds"]
        report |= recipe.identity(case) | {"outputs": outputs.names}
        write_case(outputs, volume, found, report, maps, overwrite=overwrite)
    return SegmentedCase(volume=volume, segmentation=found, report=report, maps=maps)


def segment_volume(
    volume: Volume, doubts: tuple[Flag, ...], recipe: Recipe, models: SegmentModels, sinks: Sequence[Sink] = ()
) -> tuple[Segmentation, dict[str, Any]]:
    """The organs to write of a CT, and what its JSON says of them, of the `doubts` about it, and of the models.

    Everything doubtful is logged. Raises CheckpointError or OutOfMemory.
    """
    whole = segment(volume, models.reference, models.propagation, recipe.config, sinks=sinks)
    found = written_part(whole, recipe.labels)
    written = [organ.name for organ in found.organs]
    chest = chest_flags(volume.array, recipe.labels.model.names)
    flags, statistics = (*doubts, *chest, *organ_flags(whole.organs, written)), None
    if recipe.output.statistics or recipe.output.report:
        measured = measure(volume, found.classes, list(recipe.labels.ids), Units.of(doubts))
        statistics = {recipe.labels.model.names[c - 1]: each for c, each in measured.items()}
    for flag in flags:
        level = logging.INFO if flag.severity == NOTE else logging.WARNING
        logger.log(level, "%s: %s", volume.path.name if volume.path else "the CT", flag.text)
    return found, sidecar(found, volume, recipe.models.cards, recipe.config, flags=flags, statistics=statistics)


def written_part(segmentation: Segmentation, labels: WrittenLabels) -> Segmentation:
    """The organs to write, by the ids they are written by."""
    kept = list(labels.ids)
    organs = tuple(replace(segmentation.organs[c - 1], id=labels.ids[c]) for c in kept)
    if len(kept) == len(segmentation.organs):
        return replace(segmentation, organs=organs)
    certainty = segmentation.certainty[[c - 1 for c in kept]]
    return replace(segmentation, classes=labels.only(segmentation.classes), organs=organs, certainty=certainty)


@contextmanager
def _maps(outputs: OutputFiles, volume: Volume) -> Iterator[Maps]:
    shape, folder = volume.array.shape, outputs.sidecar.parent
    uncertainty = UncertaintyMap(shape) if outputs.config.uncertainty or outputs.config.report else None
    if not outputs.config.probabilities:
        yield Maps(uncertainty=uncertainty)
        return
    with files.output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probabilities = ProbabilityMaps(shape, list(outputs.labels.ids), folder)
    try:
        with files.output_errors(outputs.mask):
            yield Maps(uncertainty=uncertainty, probabilities=probabilities)
    finally:
        probabilities.close()
