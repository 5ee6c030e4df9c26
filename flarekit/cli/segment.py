"""`flarekit segment`: a CT to a label map in its own space, or a folder of CTs to a folder of label maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flarekit.cli import console
from flarekit.cli.options import (
    Backend,
    Challenge,
    Device,
    HuOffset,
    Json,
    Overwrite,
    Precision,
    Scheduler,
    Series,
    Workers,
    device_for,
    known_precision,
)
from flarekit.cli.segment_options import (
    SAMPLING,
    Case,
    Colours,
    DicomSeg,
    Flips,
    Force,
    LabelMap,
    LeastPiece,
    MaxReferences,
    Model,
    NoPropagation,
    Organs,
    Output,
    Preview,
    PropagationModel,
    Report,
    SampleEvery,
    SaveProbabilities,
    Selection,
    SlicesPerOrgan,
    Source,
    Split,
    Statistics,
    Uncertainty,
)
from flarekit.cli.segment_view import case_doubts, case_table, organ_table, written
from flarekit.config.propagation import PropagationConfig
from flarekit.config.reference import BACKENDS, SELECTIONS, SamplingConfig, SelectionConfig
from flarekit.config.segment import OutputConfig, SegmentConfig
from flarekit.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from flarekit.data.layouts import CaseFiles
    from flarekit.pipeline.case import Recipe
    from flarekit.pipeline.models import ModelChoice

SELECTION, OUTPUT = SelectionConfig(), OutputConfig()


def segment(
    case: Case = None,
    source: Source = None,
    output: Output = None,
    organs: Organs = OUTPUT.organs,
    label_map: LabelMap = OUTPUT.label_map,
    split: Split = OUTPUT.split,
    dicom_seg: DicomSeg = OUTPUT.dicom_seg,
    uncertainty: Uncertainty = OUTPUT.uncertainty,
    save_probabilities: SaveProbabilities = OUTPUT.probabilities,
    statistics: Statistics = OUTPUT.statistics,
    preview: Preview = OUTPUT.preview,
    report: Report = OUTPUT.report,
    colours: Colours = OUTPUT.colours,
    overwrite: Overwrite = False,
    json: Json = False,
    model: Model = "starter-reference",
    propagation_model: PropagationModel = "starter-propagation",
    sample_every: SampleEvery = SAMPLING.every,
    max_references: MaxReferences = SELECTION.max_references,
    slices_per_organ: SlicesPerOrgan = SELECTION.slices_per_organ,
    selection: Selection = SELECTION.strategy,
    no_propagation: NoPropagation = False,
    flips: Flips = SegmentConfig.flips,
    least_piece: LeastPiece = SegmentConfig.least_piece,
    precision: Precision = PropagationConfig.precision,
    challenge: Challenge = False,
    series: Series = None,
    hu_offset: HuOffset = "auto",
    force: Force = False,
    device: Device = "auto",
    backend: Backend = BACKENDS[0],
    workers: Workers = 0,
    scheduler: Scheduler = None,
) -> None:
    """Segment the organs of a CT; a JSON beside the mask says volumes, confidence, doubts, and what made it.

    What else is wanted lies beside it: CASE_seg_uncertainty.nii.gz, CASE_seg_probabilities/, CASE_seg_statistics.csv,
    CASE_seg_preview.png and CASE_seg_report.html. A name that ends in .dcm makes the mask a DICOM-SEG, which goes back
    to the archive that the CT in DICOM came from: with its patient in it. Of a folder of CTs, every one is segmented to
    OUT/NAME.nii.gz; a run that was stopped goes on where it was, and a case that fails does not stop the rest.
    """
    from flarekit.pipeline.case import Recipe
    from flarekit.pipeline.inputs import is_batch
    from flarekit.volumes.formats import names_segmentation
    from flarekit.volumes.hu import parse_offset

    wanted = OutputConfig(
        organs=organs, label_map=label_map, split=split,
        dicom_seg=dicom_seg or (output is not None and names_segmentation(output)), uncertainty=uncertainty,
        probabilities=save_probabilities, statistics=statistics, preview=preview, report=report, colours=colours,
    )  # fmt: skip
    config = _config(sample_every, max_references, slices_per_organ, selection, precision, flips, least_piece)
    image, offset = _one_of(case, source), parse_offset(hu_offset)
    models = _models(model, None if no_propagation else propagation_model, backend, device, challenge=challenge)
    recipe = Recipe.of(models, config, wanted, force=force)
    if is_batch(image, output):
        _segment_all(*_batch(image, output, series, offset), recipe, workers, scheduler, overwrite, json)
    else:
        _refuse_many(image, workers, scheduler)
        _segment_one(_case(image, series, offset), output, recipe, overwrite=overwrite, as_json=json)


def _segment_one(case: CaseFiles, output: Path | None, recipe: Recipe, *, overwrite: bool, as_json: bool) -> None:
    from flarekit.pipeline.case import segment_case
    from flarekit.pipeline.outputs import OutputFiles

    if output is None:
        outputs = OutputFiles.default(case.image, recipe.labels, recipe.output)
    else:
        outputs = OutputFiles(mask=output, labels=recipe.labels, config=recipe.output)
    outputs.check(case.image, overwrite=overwrite)
    done = segment_case(case, outputs, recipe, recipe.models.load(), overwrite=overwrite)
    doubts = (f"Doubtful: {text}" for text in case_doubts(done.report["flags"]))
    console.emit(done.report, organ_table(done.report["organs"]), written(outputs), *doubts, as_json=as_json)


def _models(model: str, propagation: str | None, backend: str, device: str, *, challenge: bool) -> ModelChoice:
    from flarekit.pipeline.models import ModelChoice

    return ModelChoice.of(model, propagation, device_for(backend, device), challenge=challenge, backend=backend)


def _batch(image: Path, output: Path | None, series: str | None, hu_offset: Any) -> tuple[Sequence[CaseFiles], Path]:
    """The CTs of a folder, and where their masks go."""
    from flarekit.pipeline.inputs import cases_in

    folder = output or Path(f"{image.resolve().name}_seg")
    return cases_in(image, folder, series=series, hu_offset=hu_offset), folder


def _segment_all(
    cases: Sequence[CaseFiles],
    folder: Path,
    recipe: Recipe,
    workers: int,
    scheduler: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    from flarekit.pipeline.batch import segment_batch
    from flarekit.pipeline.batch_report import batch_json

    if workers:
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of several processes would write over each other
    outcomes = segment_batch(cases, folder, recipe, workers=workers, scheduler=scheduler, overwrite=overwrite)
    report = batch_json(outcomes, recipe)
    summary = ", ".join(f"{number} {status}" for status, number in report["counts"].items())
    console.emit(report, case_table(folder, outcomes), f"{len(outcomes)} cases: {summary}.", as_json=as_json)
    if failed := [outcome.name for outcome in outcomes if outcome.error]:
        raise PartialFailure(
            f"{len(failed)} of {len(outcomes)} cases failed: {', '.join(failed[:5])}",
            where=folder,
            remedy="Mend or leave out what the list names and run again; the others are done.",
        )


def _one_of(case: Path | None, source: Path | None) -> Path:
    given = [path for path in (case, source) if path is not None]
    if len(given) != 1:
        raise UsageError(
            "a CT is given twice" if given else "no CT is given", remedy="Write flarekit segment case.nii.gz."
        )
    return given[0]


def _case(image: Path, series: str | None, hu_offset: Any) -> CaseFiles:
    from flarekit.data.layouts import CaseFiles
    from flarekit.volumes.formats import stem

    return CaseFiles(name=stem(image), image=image, series=series, hu_offset=hu_offset)


def _refuse_many(image: Path, workers: int, scheduler: str | None) -> None:
    """Raises UsageError for one case that is there; one that is not is told so where it is read."""
    if (workers or scheduler is not None) and os.path.exists(image):
        raise UsageError(
            "--workers and --scheduler are for a folder of cases", remedy="Leave them out, or name the folder."
        )


def _config(
    sample_every: int | None,
    max_references: int,
    slices_per_organ: int,
    selection: str,
    precision: str,
    flips: bool,
    least_piece: float,
) -> SegmentConfig:
    if selection not in SELECTIONS:
        raise UsageError(f"unknown selection {selection!r}", remedy=f"Use one of {', '.join(SELECTIONS)}.")
    return SegmentConfig(
        flips=flips,
        sampling=SamplingConfig(every=sample_every),
        selection=SelectionConfig(strategy=selection, slices_per_organ=slices_per_organ, max_references=max_references),
        propagation=PropagationConfig(precision=known_precision(precision)),
        least_piece=least_piece,
    )
