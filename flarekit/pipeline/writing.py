"""Writes what is known of a segmented case: all files beside their places first, then into them, the JSON last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from flarekit import files
from flarekit.pipeline.maps import ProbabilityMaps, Sink, UncertaintyMap
from flarekit.pipeline.organ_colours import named
from flarekit.pipeline.outputs import OutputFiles
from flarekit.pipeline.quality_report import report_case
from flarekit.pipeline.segmentation import Segmentation
from flarekit.pipeline.statistics_table import statistics_table
from flarekit.pipeline.stopwatch import Stopwatch
from flarekit.report.overlay import draw_overlay
from flarekit.report.page import write_report
from flarekit.volumes import Volume, write_labels, write_map
from flarekit.volumes.colour_tables import itk_snap, slicer
from flarekit.volumes.dicom.segmentation_writing import Algorithm, write_segmentation
from flarekit.volumes.naming import NamedLabel


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What was collected slice by slice."""

    uncertainty: UncertaintyMap | None = None
    probabilities: ProbabilityMaps | None = None

    @property
    def sinks(self) -> list[Sink]:
        """Those that are wanted."""
        return [sink for sink in (self.uncertainty, self.probabilities) if sink is not None]


def write_case(
    outputs: OutputFiles,
    volume: Volume,
    segmentation: Segmentation,
    report: dict[str, Any],
    maps: Maps | None = None,
    *,
    overwrite: bool,
) -> None:
    """All files of a case, `report` last as its JSON, with the time it took added. Raises OutputError.

    With `overwrite`, an earlier run's files stay until all of these lie beside them, complete; then they are replaced,
    and those that are not written again go. Without it, what another run wrote in the meantime stays.
    """
    for path in (*outputs.written, outputs.sidecar):
        files.refuse_existing(path, overwrite=overwrite)
    watch = Stopwatch()
    with _no_empty_folder(outputs), files.folder_beside(outputs.sidecar, becomes=outputs.folder) as folder:
        staged = outputs.within(folder)
        with watch.stage("write"):
            write_files(staged, volume, segmentation, report, maps or Maps())
        if outputs.config.report:
            with watch.stage("report"):
                uncertainty = None if maps is None else maps.uncertainty
                case = report_case(volume, segmentation, outputs.labels.model, report, uncertainty)
                write_report(staged.report_page, case)
        report["seconds"] |= watch.rounded()
        files.write_json(staged.sidecar, report)
        _put_in_place(staged, outputs, overwrite=overwrite)


def _put_in_place(staged: OutputFiles, outputs: OutputFiles, *, overwrite: bool) -> None:
    """The JSON comes last: until it is there, the one in its place says what is to come, and what is still to go."""
    for path in (*outputs.written, outputs.sidecar):
        files.refuse_existing(path, overwrite=overwrite)
    unfinished = outputs.unfinished()
    files.write_json(outputs.sidecar, unfinished, overwrite=True)
    for source, target in zip(staged.written, outputs.written, strict=True):
        with files.output_errors(target):
            target.parent.mkdir(exist_ok=True)
            os.replace(source, target)
    for path in (outputs.folder / name for name in unfinished["earlier"]):
        with files.output_errors(path):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # other files lie there
            path.parent.rmdir()
    with files.output_errors(outputs.sidecar):
        os.replace(staged.sidecar, outputs.sidecar)


@contextmanager
def _no_empty_folder(outputs: OutputFiles) -> Iterator[None]:
    """Where the block fails, an empty folder of masks is not left."""
    try:
        yield
    except BaseException:
        if outputs.config.split:
            with suppress(OSError):  # an earlier run's files, or others', lie there
                outputs.folder.rmdir()
        raise


def write_files(
    outputs: OutputFiles, volume: Volume, segmentation: Segmentation, report: Mapping[str, Any], maps: Maps
) -> None:
    """All files but the JSON, which will hold `report`, and the page. Raises OutputError."""
    _write_mask(outputs, volume, segmentation, report)
    if outputs.config.uncertainty and maps.uncertainty is not None:
        write_map(outputs.uncertainty, volume.like(maps.uncertainty.steps))
    if maps.probabilities is not None:
        for c in outputs.labels.ids:
            write_map(outputs.probability(c), volume.like(maps.probabilities.steps(c)))
    if outputs.config.statistics:
        files.write_text(outputs.statistics, statistics_table(report["organs"]))
    if outputs.config.preview:
        draw_overlay(outputs.preview, volume, segmentation.classes, outputs.labels.model)
    if outputs.config.tables:
        itk_snap_file, slicer_file = outputs.colour_tables
        files.write_text(itk_snap_file, itk_snap(named(outputs.labels)))
        files.write_text(slicer_file, slicer(named(outputs.labels)))


def _write_mask(outputs: OutputFiles, volume: Volume, segmentation: Segmentation, report: Mapping[str, Any]) -> None:
    if outputs.config.split:
        _write_organs(outputs, volume, segmentation)
        return
    ids = volume.like(outputs.labels.to_ids(segmentation.classes))
    if outputs.config.dicom_seg:
        write_segmentation(outputs.mask, ids, named(outputs.labels), _algorithm(report))
    else:
        write_labels(outputs.mask, ids, labels=named(outputs.labels))


def _algorithm(report: Mapping[str, Any]) -> Algorithm:
    """What a DICOM-SEG says of its making."""
    reference = report["models"]["reference"]
    return Algorithm(
        maker="flarekit",
        version=report["flarekit"],
        name=f"flarekit {reference['checkpoint']}",
        serial=reference["weights_sha256"],
        parameters={part: model["checkpoint"] for part, model in report["models"].items()},
    )


def _write_organs(outputs: OutputFiles, volume: Volume, segmentation: Segmentation) -> None:
    labels = {label.name: label for label in named(outputs.labels)}
    for c in outputs.labels.ids:
        own = labels[outputs.labels.model.names[c - 1]]
        mask = volume.like((segmentation.classes == c).astype(np.uint8))
        one = NamedLabel(id=1, name=own.name, colour=own.colour)
        write_labels(outputs.organ(c), mask, labels=(one,))
