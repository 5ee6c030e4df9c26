"""Segmentation of a case from file to files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from flarekit import files
from flarekit.check import ERROR, NOTE
from flarekit.config import toml
from flarekit.config.segment import OutputConfig, SegmentConfig
from flarekit.data.digest import digest
from flarekit.data.layouts import CaseFiles
from flarekit.pipeline.flags import Flag, organ_flags
from flarekit.pipeline.maps import ProbabilityMaps, Sink, UncertaintyMap
from flarekit.pipeline.models import ModelChoice, SegmentModels
from flarekit.pipeline.outputs import OutputFiles
from flarekit.pipeline.reading import read_case
from flarekit.pipeline.segment import segment
from flarekit.pipeline.segmentation import Segmentation
from flarekit.pipeline.sidecar import model_entry, sidecar
from flarekit.pipeline.statistics import OrganStatistics, measure
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.pipeline.writing import Maps, unfinished, write_files
from flarekit.renumbering import WrittenLabels
from flarekit.volumes import Volume

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
        """With the organs that the output names. Raises UsageError or InputError as `WrittenLabels.of` does."""
        output = output or OutputConfig()
        labels = WrittenLabels.of(models.labels, output.organs, output.label_map)
        return cls(models=models, labels=labels, config=config or SegmentConfig(), output=output, force=force)

    def identity(self, case: CaseFiles, outputs: OutputFiles) -> dict[str, Any]:
        """The part of a case's JSON that says what it is made from, and how: the same for the same result."""
        return {
            "image_sha256": digest(case.image, case.series),
            "hu_offset_asked": str(case.hu_offset),
            "models": {part: model_entry(card) for part, card in self.models.cards.items()},
            "backend": self.models.backend,
            "labels": {str(number): name for number, name in self.labels.names.items()},
            "outputs": outputs.names,
            "settings": toml.to_dict(self.config),
        }


@dataclass(frozen=True, kw_only=True)
class SegmentedCase:
    """A case whose files are written."""

    volume: Volume  # the CT, int16 HU
    segmentation: Segmentation  # of the organs that were asked for
    report: dict[str, Any]  # what its JSON says


def segment_case(
    case: CaseFiles, outputs: OutputFiles, recipe: Recipe, models: SegmentModels, *, overwrite: bool = False
) -> SegmentedCase:
    """Segment a file and write the mask, its JSON and what else is wanted.

    Raises InputError, OutputError, CheckpointError or OutOfMemory; then no file of the case is left.
    """
    overwrite = outputs.check(case.image, overwrite=overwrite)
    watch = Stopwatch()
    with watch.stage("read"):
        volume, doubts = read_case(case, force=recipe.force)
    with _maps(outputs, volume) as maps:
        sinks: list[Sink] = [sink for sink in (maps.uncertainty, maps.probabilities) if sink is not None]
        found = segment(volume, models.reference, models.propagation, recipe.config, sinks=sinks)
        found = written_part(found, recipe.labels)
        watch.seconds.update(found.seconds)
        flags = (*doubts, *organ_flags(found.organs))
        with watch.stage("statistics"):
            statistics = _statistics(volume, found, recipe, doubts)
        report = sidecar(found, volume, recipe.models.cards, recipe.config, flags=flags, statistics=statistics)
        with unfinished(outputs):
            with watch.stage("write"):
                write_files(outputs, volume, found, report["organs"], maps, overwrite=overwrite)
            seconds = {stage: round(elapsed, 3) for stage, elapsed in watch.seconds.items()}
            report |= recipe.identity(case, outputs) | {"seconds": seconds}
            files.write_json(outputs.sidecar, report, overwrite=True)
    _warn(case.name, flags)
    return SegmentedCase(volume=volume, segmentation=replace(found, seconds=watch.seconds), report=report)


def written_part(segmentation: Segmentation, labels: WrittenLabels) -> Segmentation:
    """The organs to write, by the ids they are written by."""
    kept = list(labels.ids)
    organs = tuple(replace(segmentation.organs[c - 1], id=labels.ids[c]) for c in kept)
    if len(kept) == len(segmentation.organs):
        return replace(segmentation, organs=organs)
    confidence = segmentation.confidence[[c - 1 for c in kept]]
    return replace(segmentation, classes=labels.only(segmentation.classes), organs=organs, confidence=confidence)


@contextmanager
def _maps(outputs: OutputFiles, volume: Volume) -> Iterator[Maps]:
    shape, folder = volume.array.shape, outputs.sidecar.parent
    uncertainty = UncertaintyMap(shape) if outputs.config.uncertainty else None
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


def _statistics(
    volume: Volume, found: Segmentation, recipe: Recipe, doubts: tuple[Flag, ...]
) -> dict[str, OrganStatistics] | None:
    if not recipe.output.statistics:
        return None
    is_hu = all(flag.severity != ERROR for flag in doubts)
    measured = measure(volume, found.classes, list(recipe.labels.ids), is_hu=is_hu)
    return {recipe.labels.model.names[c - 1]: statistics for c, statistics in measured.items()}


def _warn(name: str, flags: tuple[Flag, ...]) -> None:
    for flag in flags:
        logger.log(logging.INFO if flag.severity == NOTE else logging.WARNING, "%s: %s", name, flag.text)
