"""A round of pseudo-labelling: every case labelled by its members, kept where they agree, recorded either way."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from flarekit.config.consensus import ConsensusConfig
from flarekit.consensus.case import LabelledCase, label_case
from flarekit.consensus.ledger import FAILED, KEPT, REJECTED, Ledger, Record, RoundSettings
from flarekit.consensus.members import MaskSource, Member, MemberSource, say_where_preprocessing_differs
from flarekit.consensus.outputs import REJECTED_MASKS, UNCERTAINTY, Outputs
from flarekit.consensus.score import mean
from flarekit.consensus.table import TABLE, write_table
from flarekit.data import nnunet
from flarekit.data.digest import digest
from flarekit.data.layouts import CaseFiles
from flarekit.errors import FlarekitError, InputError, OutputError, UsageError
from flarekit.files import remove_leftovers
from flarekit.labels import LabelSet
from flarekit.lock import held
from flarekit.parallel import Lost, run_cases
from flarekit.volumes import read_volume

SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class CaseOutcome:
    """What became of one case in this run."""

    case: str
    status: str  # kept, rejected, skipped (the ledger has it already), or failed
    score: float | None = None  # by the round's mode
    reason: str = ""  # why, or what went wrong
    ignored: tuple[str, ...] = ()  # organs that are not trusted in a mask that is kept


@dataclass(frozen=True, kw_only=True)
class Round:
    """What is done to every case, in whatever process."""

    sources: tuple[MemberSource, ...]  # by name, see `flarekit.consensus.members.order`
    labels: LabelSet
    config: ConsensusConfig
    output: Path
    number: int = 1  # of training and labelling in turn
    previous: MaskSource | None = None  # the masks of the round before
    backend: str | None = None  # what runs the reference modules, for the ledger

    @property
    def outputs(self) -> Outputs:
        """Where its files lie."""
        return Outputs.of(self.output, self.labels, self.config.layout)

    def settings(self, cases: Sequence[CaseFiles]) -> RoundSettings:
        """What the ledger says of every case."""
        config = self.config
        return RoundSettings(
            round=self.number,
            members=tuple(source.entry for source in self.sources),
            organs=self.labels.names,
            threshold=config.threshold,
            combine=config.combine,
            mode=config.score,
            per_organ=config.per_organ,
            certainty=config.certainty,
            layout=config.layout,
            backend=self.backend,
            hu_offset_asked=" ".join(sorted({str(case.hu_offset) for case in cases})),
            previous=self.previous.name if self.previous else None,
            ids=self.outputs.labels.ids,
        )

    def refuse_namesakes(self) -> None:
        """Raises UsageError where the ledger could not tell the round before from a member."""
        if self.previous is not None and self.previous.name in [source.entry.name for source in self.sources]:
            raise UsageError(
                f"a member and the round before are both called {self.previous.name!r}",
                remedy="Call the member otherwise: --predictions NAME=FOLDER.",
            )

    def refuse_inputs(self, cases: Sequence[CaseFiles]) -> None:
        """Raises OutputError where what is read would be written over."""
        sources = [source for source in (*self.sources, self.previous) if isinstance(source, MaskSource)]
        folders = [folder for source in sources for folder in source.folders]
        self.outputs.refuse_inputs([case.image for case in cases], folders)


def run_round(
    cases: Sequence[CaseFiles],
    round_: Round,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> list[CaseOutcome]:
    """Label every case that the ledger does not have yet, and write masks of the kept ones; in order of name.

    `workers` and `scheduler` are as `flarekit.parallel.run_cases` takes them; each process loads the members once. A
    case that cannot be labelled is recorded as failed, and tried again by a later run. `overwrite` starts anew.
    Raises InputError or UsageError when the ledger there was made otherwise, UsageError when a member is called as the
    round before is, OutputError when nothing can be written, when another process labels the round, when masks lie
    there that no ledger knows of, or when what is read lies where masks are written, and what members raise that cannot
    be opened.
    """
    round_ = replace(round_, output=round_.output.absolute())  # workers may stand in other folders
    round_.refuse_namesakes()
    round_.refuse_inputs(cases)
    try:
        members = _open(round_.sources, round_.labels, round_.previous, _threads(workers))
        say_where_preprocessing_differs(members.values())
        del members
        if workers or scheduler:
            _open.cache_clear()
        with held(round_.outputs.lock, "labelling this round", OutputError):
            round_.outputs.prepare(overwrite=overwrite)
            ledger = Ledger(round_.outputs.ledger, round_.settings(cases))
            try:
                return _label_all(cases, round_, ledger, workers, scheduler)
            finally:
                _finish(round_.outputs, ledger)
    finally:
        _open.cache_clear()


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A case, and what the ledger knows of it."""

    case: CaseFiles
    known: Record | None


def _label_all(
    cases: Sequence[CaseFiles], round_: Round, ledger: Ledger, workers: int, scheduler: str | None
) -> list[CaseOutcome]:
    tasks = [_Task(case=_absolute(case), known=ledger.records.get(case.name)) for case in cases]
    work = partial(_work, round_=round_, threads=_threads(workers))
    done = run_cases(work, tasks, workers=workers, scheduler=scheduler)
    outcomes = []
    for task, result in tqdm(done, total=len(tasks), desc="pseudolabel", unit="case", disable=None, leave=False):
        if isinstance(result, Lost):
            result = _failed(task, round_, f"{task.case.image.name}: {result.reason}")
        if isinstance(result, Record):
            ledger.append(result)
            result = _outcome(result, result.status)
        outcomes.append(result)
    return sorted(outcomes, key=lambda outcome: outcome.case)


def _work(task: _Task, round_: Round, threads: int) -> Record | CaseOutcome:
    """The case's new record, or what became of it where the record that is there stays.

    Raises OutputError, as the next case could not be written either, and what members raise that cannot be opened.
    """
    case, known = task.case, task.known
    try:
        if known is not None and _is_done(known, case, round_):
            return _outcome(known, SKIPPED)
    except FlarekitError as error:
        return CaseOutcome(case=case.name, status=FAILED, reason=str(error))
    members = _open(round_.sources, round_.labels, round_.previous, threads)
    try:
        return _label(case, members, round_)
    except OutputError:
        raise
    except FlarekitError as error:
        return _failed(task, round_, str(error))
    except MemoryError:
        return _failed(task, round_, "takes more memory than there is. Run again with fewer --workers.")


@lru_cache(maxsize=1)
def _open(
    sources: tuple[MemberSource, ...], labels: LabelSet, previous: MaskSource | None, threads: int
) -> dict[str | None, Member]:
    """The members by name, and the previous round's masks under None: opened once in a process."""
    if threads:
        torch.set_num_threads(threads)
    opened: dict[str | None, Member] = {source.entry.name: source.open(labels) for source in sources}
    return opened | ({None: previous.open(labels)} if previous else {})


def _threads(workers: int) -> int:
    """Threads of torch in each of so many processes; 0 leaves them as they are."""
    return max(1, torch.get_num_threads() // workers) if workers > 1 else 0


def _is_done(known: Record, case: CaseFiles, round_: Round) -> bool:
    """Whether nothing is left to do. Raises InputError when the record is of another image or label map."""
    if known.status == FAILED:
        return False
    if known.image_sha256 != digest(case.image, case.series):
        raise _changed(case.image, f"another image than the {case.name!r} in the ledger")
    for member, file in _mask_files(case, round_).items():
        if known.mask_sha256.get(member) != digest(file):
            raise _changed(file, f"another label map than that of {member!r} in the ledger")
    config = round_.config
    wanted = [known.mask] if known.kept or config.write_rejected else []
    wanted += [known.uncertainty] if config.uncertainty else []
    files = [None if name is None else round_.output / name for name in wanted]
    files += [image for file in files if file is not None for image in nnunet.images_of(file)]
    return all(file is not None and os.path.exists(file) for file in files)


def _still_holds(known: Record, folder: Path) -> bool:
    """Whether a record is of a case that was labelled, and the mask it names is there."""
    return known.status != FAILED and (known.mask is None or os.path.exists(folder / known.mask))


def _changed(path: Path, what: str) -> InputError:
    return InputError(
        f"is {what}",
        where=path,
        remedy="Rename it, choose another output folder, or pass --overwrite to start anew.",
    )


def _mask_files(case: CaseFiles, round_: Round) -> dict[str, Path]:
    """The label maps that vote on the case, by member, and the previous round's under its own name."""
    sources = [*round_.sources, *([round_.previous] if round_.previous else [])]
    files = {source.entry.name: source.file_of(case.name) for source in sources}
    return {name: file for name, file in files.items() if file is not None}


def _label(case: CaseFiles, opened: Mapping[str | None, Member], round_: Round) -> Record:
    start = time.perf_counter()
    image = digest(case.image, case.series)
    masks = {name: digest(file) for name, file in _mask_files(case, round_).items()}
    volume = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
    previous = opened.get(None) if round_.previous and round_.previous.file_of(case.name) else None
    members = {name: member for name, member in opened.items() if name is not None}
    labelled = label_case(
        volume, members, case.name, round_.labels, round_.config, scratch=round_.output, previous=previous
    )
    outputs, kept = round_.outputs, labelled.verdict.kept
    mask = uncertainty = None
    if kept or round_.config.write_rejected:
        mask = outputs.write_mask(case, volume, labelled.classes, kept=kept)
    if labelled.uncertainty is not None:
        uncertainty = outputs.write_uncertainty(case, volume, labelled.uncertainty)
    record = _record(case, labelled, round_)
    elapsed = round(time.perf_counter() - start, 2)
    return replace(
        record,
        image_sha256=image,
        mask_sha256=masks,
        mask=mask,
        uncertainty=uncertainty,
        seconds=elapsed,
        hu_offset=volume.hu_offset,
    )


def _record(case: CaseFiles, labelled: LabelledCase, round_: Round) -> Record:
    """What the case's scores say; the files are yet to be named."""
    names, mode = round_.labels.names, round_.config.score
    scores, verdict = labelled.scores.get(mode), labelled.verdict
    voters = [source.entry.name for source in round_.sources]
    if scores is not None and len(scores.organs) != len(voters):
        voters = [round_.previous.name if round_.previous else "previous"]
    rows = dict(zip(voters, scores.organs, strict=True)) if scores is not None else {}
    return Record(
        case=case.name,
        status=KEPT if verdict.kept else REJECTED,
        reason=verdict.reason,
        score=scores.case if scores is not None else None,
        case_scores={name: found.case for name, found in labelled.scores.items()},
        member_scores={voter: mean(row) for voter, row in rows.items()},
        organ_scores={voter: _by_organ(row, names) for voter, row in rows.items()},
        organ_means={name: _by_organ(found.organ_means, names) for name, found in labelled.scores.items()},
        ignored=tuple(names[organ - 1] for organ in verdict.ignored),
    )


def _failed(task: _Task, round_: Round, reason: str) -> Record | CaseOutcome:
    """The record of a case that cannot be labelled; files are called by their names, without their folders.

    Where a record that is there still tells the truth, what is asked for beyond it failed alone, and the record stays.
    """
    if task.known is not None and _still_holds(task.known, round_.output):
        return CaseOutcome(case=task.case.name, status=FAILED, reason=reason)
    sources = [source for source in (*round_.sources, round_.previous) if isinstance(source, MaskSource)]
    folders = {task.case.image.parent, round_.output, *(folder for source in sources for folder in source.folders)}
    for folder in sorted(folders - {Path(os.sep)}, key=lambda folder: -len(str(folder))):
        reason = reason.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
    return Record(case=task.case.name, status=FAILED, reason=reason)


def _outcome(record: Record, status: str) -> CaseOutcome:
    return CaseOutcome(
        case=record.case, status=status, score=record.score, reason=record.reason, ignored=record.ignored
    )


def _finish(outputs: Outputs, ledger: Ledger) -> None:
    """What is made of the whole ledger, also where the run broke off. Raises OutputError."""
    for name in (outputs.masks, REJECTED_MASKS, UNCERTAINTY):
        remove_leftovers(outputs.folder / name)
    outputs.describe(sum(record.kept for record in ledger.records.values()))
    write_table(outputs.folder / TABLE, ledger.settings, ledger.records)


def _absolute(case: CaseFiles) -> CaseFiles:
    return replace(case, image=case.image.absolute())


def _by_organ(row: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, row, strict=True)}
