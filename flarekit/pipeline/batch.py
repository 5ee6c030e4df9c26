"""Segments many cases into a folder: resumable, in processes or over a cluster; a bad case does not stop the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flarekit import files
from flarekit.data.layouts import CaseFiles
from flarekit.errors import FlarekitError, OutputError, UsageError
from flarekit.parallel import Lost, run_cases
from flarekit.pipeline.batch_report import BATCH_NAMES, COLOUR_NAMES, refuse_foreign, write_batch_report
from flarekit.pipeline.case import Recipe, segment_case
from flarekit.pipeline.organ_colours import named
from flarekit.pipeline.outcome import FAILED, SEGMENTED, SKIPPED, CaseOutcome
from flarekit.pipeline.outputs import OutputFiles
from flarekit.volumes.colour_tables import itk_snap, slicer

logger = logging.getLogger(__name__)


def segment_batch(
    cases: Sequence[CaseFiles],
    folder: Path,
    recipe: Recipe,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> list[CaseOutcome]:
    """Segment every case to FOLDER/NAME.nii.gz, NAME.dcm or NAME/, and say what became of them in batch.json.

    There, cases of other CTs stand too which earlier runs finished in the folder; those of this run come back.

    `workers` and `scheduler` as `flarekit.parallel.run_cases` takes them; every process loads the models once. A case
    that is finished, by the same models and settings from the same image, is skipped; what is there otherwise is
    replaced with `overwrite` alone. A line for every case is logged as it ends. Raises OutputError when nothing can
    be written, or the batch's own files are none of an earlier run's (without `overwrite`); UsageError where a case
    would be written over another, or over its image.
    """
    _refuse_clashes(folder, cases, recipe)
    refuse_foreign(folder, recipe, overwrite=overwrite)
    if recipe.output.colours and not recipe.output.dicom_seg:
        _write_colours(folder, recipe, overwrite=overwrite)
        recipe = replace(recipe, output=replace(recipe.output, colours=False))
    if scheduler is not None:  # whose workers stand in other folders
        cases, folder = [replace(case, image=case.image.absolute()) for case in cases], folder.absolute()
    threads = max(1, torch.get_num_threads() // workers) if workers else None
    work = partial(_worked, folder=folder, recipe=recipe, overwrite=overwrite, threads=threads)
    outcomes = []
    for case, result in run_cases(work, cases, workers=workers, scheduler=scheduler):
        outcome = _failed(case, result.reason, folder) if isinstance(result, Lost) else result
        outcomes.append(outcome)
        logger.info("%s", _line(outcome, len(outcomes), len(cases)))
    outcomes.sort(key=lambda outcome: outcome.name)
    write_batch_report(folder, outcomes, recipe)
    return outcomes


def outputs_of(case: CaseFiles, folder: Path, recipe: Recipe) -> OutputFiles:
    """Where a batch writes a case."""
    return OutputFiles(mask=folder / f"{case.name}{recipe.output.ending}", labels=recipe.labels, config=recipe.output)


def _worked(case: CaseFiles, folder: Path, recipe: Recipe, overwrite: bool, threads: int | None) -> CaseOutcome:
    if threads is not None:
        torch.set_num_threads(threads)
    start = time.perf_counter()
    try:
        outputs = outputs_of(case, folder, recipe)
        report = None if overwrite else _made_so(case, outputs, recipe)
        if report is not None and all(path.exists() for path in outputs.written):
            return CaseOutcome(name=case.name, status=SKIPPED, report=report)
        may_replace = overwrite or report is not None
        done = segment_case(case, outputs, recipe, recipe.models.load(), overwrite=may_replace)
    except FlarekitError as error:
        return _failed(case, str(error), folder)
    except MemoryError:
        return _failed(case, "takes more memory than there is. Run again with fewer --workers.", folder)
    elapsed_s = time.perf_counter() - start
    return CaseOutcome(name=case.name, status=SEGMENTED, elapsed_s=elapsed_s, report=done.report)


def _made_so(case: CaseFiles, outputs: OutputFiles, recipe: Recipe) -> dict[str, Any] | None:
    """The JSON of a case that was made from the same in the same way. Raises OutputError where it was not."""
    report = outputs.report()
    if report is None or report.get("format") != "flarekit-segmentation":
        return None
    wanted = recipe.identity(case) | {"outputs": outputs.names}
    if changed := [key for key, value in wanted.items() if report.get(key) != value]:
        raise OutputError(
            f"was made otherwise ({', '.join(changed)} differ)",
            where=outputs.sidecar,
            remedy="Pass --overwrite, or choose another folder.",
        )
    return report


def _refuse_clashes(folder: Path, cases: Sequence[CaseFiles], recipe: Recipe) -> None:
    taken = {Path(name).stem for name in (*BATCH_NAMES, *COLOUR_NAMES)}
    if clash := [case.name for case in cases if case.name in taken]:
        raise UsageError(f"a case is called {clash[0]!r}, as a file of the batch itself", remedy="Rename the case.")
    images = {case.image.resolve(): case.name for case in cases}
    owners: dict[Path, str] = {}
    for case in cases:
        outputs = outputs_of(case, folder, recipe)
        for path in (*outputs.written, outputs.sidecar):
            others = (owners.setdefault(path, case.name), images.get(path.resolve(), case.name))
            if other := [name for name in others if name != case.name]:
                raise UsageError(
                    f"the case {case.name!r} would be written over a file of the case {other[0]!r}",
                    where=path,
                    remedy="Rename one of them, or choose another folder.",
                )


def _write_colours(folder: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Raises OutputError where other tables are there: a folder's masks have one numbering."""
    texts = (itk_snap(named(recipe.labels)), slicer(named(recipe.labels)))
    for name, text in zip(COLOUR_NAMES, texts, strict=True):
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            files.write_text(path, text, overwrite=overwrite)


def _failed(case: CaseFiles, reason: str, folder: Path) -> CaseOutcome:
    """Without the folders' names, which no report holds."""
    for parent in (case.image.parent, folder):
        reason = reason.replace(f"{parent}/", "")
    return CaseOutcome(name=case.name, status=FAILED, error=reason)


def _line(outcome: CaseOutcome, number: int, total: int) -> str:
    return f"[{number}/{total}] {outcome.name}: {' '.join(_words(outcome))}"


def _words(outcome: CaseOutcome) -> Iterator[str]:
    yield outcome.status
    if outcome.status == FAILED:
        yield f"({outcome.error})"
    elif outcome.status == SKIPPED:
        yield "(finished already)"
    else:
        yield f"in {outcome.elapsed_s:.1f} s"
