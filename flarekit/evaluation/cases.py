"""Predicted label maps and their truths, paired by file name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from flarekit.data.layouts import LabelledOrgans
from flarekit.errors import FlarekitError, InputError
from flarekit.evaluation.dice import CaseScores
from flarekit.evaluation.masks import score_volumes
from flarekit.evaluation.rules import ScoringRules
from flarekit.files import require_existing
from flarekit.labels import LabelSet
from flarekit.parallel import Lost, run_cases
from flarekit.volumes import Volume, read_labels, require_same_grid
from flarekit.volumes.dicom import is_segmentation_file
from flarekit.volumes.formats import SUFFIXES, stem

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A case to score."""

    name: str  # of the case
    predicted: Path
    true: Path


@dataclass(frozen=True, kw_only=True)
class FailedCase:
    """A case that could not be scored."""

    case: str  # its name
    error: str  # what is wrong with it and what to do, one line


def pair_cases(predicted: Path, true: Path) -> tuple[Pair, ...]:
    """The cases of two files, or of two folders: every truth has a prediction of its name.

    As in FLARE22, `_0000` at the end of a name does not count; predictions without a truth are left out.
    Raises InputError when a path is missing, a folder stands beside a file, or a prediction is missing.
    """
    for path in (predicted, true):
        require_existing(path)
    if predicted.is_dir() != true.is_dir():
        raise InputError("a folder cannot be scored against a file", where=f"{predicted} and {true}")
    if not true.is_dir():
        return (Pair(name=_case(true), predicted=predicted, true=true),)
    predictions, truths = _label_maps(predicted), _label_maps(true)
    if not truths:
        raise InputError("holds no label map", where=true, remedy=f"Label maps end in {', '.join(SUFFIXES)}.")
    if missing := sorted(truths.keys() - predictions.keys()):
        raise InputError(
            f"lacks {len(missing)} of {len(truths)} cases, the first is {missing[0]}",
            where=predicted,
            remedy="Predict them, or move their truths away.",
        )
    return tuple(Pair(name=name, predicted=predictions[name], true=truths[name]) for name in sorted(truths))


def labelled_cases(image: Path, labels: Path) -> tuple[Pair, ...]:
    """A CT (a file, or a folder of DICOM files) and its label map, or the CTs and label maps of two folders.

    Raises InputError as `pair_cases` does.
    """
    if labels.is_dir():
        return pair_cases(image, labels)
    return (Pair(name=_case(image), predicted=image, true=labels),)


def score_pairs(
    pairs: Sequence[Pair],
    labels: LabelSet,
    labelled: LabelledOrgans | None = None,
    rules: ScoringRules | None = None,
    *,
    workers: int = 0,
) -> list[CaseScores | FailedCase]:
    """The scores of every case in order, of the organs that `labelled` says its truth covers, of all without it.

    `workers` processes share the cases, as `flarekit.parallel.run_cases` does. A case whose files cannot be read or
    lie on different grids is reported as failed; a single case raises its InputError instead.
    """
    labelled, rules = labelled or LabelledOrgans(default=labels.parse(None)), rules or ScoringRules.of(labels)
    if unknown := [organ for organ in labels.names if organ not in rules.tolerance_mm]:
        logger.warning("No tolerance is known for %s: their NSD is left out (--tolerance 2).", ", ".join(unknown))
    work = partial(score_pair, labels=labels, labelled=labelled, rules=rules)
    if len(pairs) == 1:
        return [work(pairs[0])]
    done = run_cases(partial(_reported, work=work), pairs, workers=workers)
    shown = tqdm(done, total=len(pairs), desc="scoring", unit="case", disable=None, leave=False)
    return sorted((_found(pair, result) for pair, result in shown), key=lambda result: result.case)


def score_pair(pair: Pair, labels: LabelSet, labelled: LabelledOrgans, rules: ScoringRules) -> CaseScores:
    """The scores of a case from its files. Raises InputError when they cannot be read or lie on different grids.

    Of the two, a DICOM-SEG is laid on the other's grid: it leaves empty slices out.
    """
    if is_segmentation_file(pair.true):
        predicted = _read_classes(pair.predicted, labels)
        true = _read_classes(pair.true, labels, like=predicted)
    else:
        true = _read_classes(pair.true, labels)
        predicted = _read_classes(pair.predicted, labels, like=true)
    require_same_grid(predicted, true)
    scores = score_volumes(pair.name, predicted, true, labels.names, rules)
    return scores.only({labels.names[c - 1] for c in labelled.of(pair.name)})


def _reported(pair: Pair, work: Callable[[Pair], CaseScores]) -> CaseScores | FailedCase:
    try:
        return work(pair)
    except FlarekitError as error:
        return FailedCase(case=pair.name, error=str(error))


def _found(pair: Pair, result: CaseScores | FailedCase | Lost) -> CaseScores | FailedCase:
    return FailedCase(case=pair.name, error=result.reason) if isinstance(result, Lost) else result


def _read_classes(path: Path, labels: LabelSet, *, like: Volume | None = None) -> Volume:
    volume = read_labels(path, like=like)
    return volume.like(labels.to_classes(volume.array, where=path))


def _label_maps(folder: Path) -> dict[str, Path]:
    files = sorted(f for f in folder.iterdir() if f.name.lower().endswith(SUFFIXES) and not f.name.startswith("."))
    found: dict[str, Path] = {}
    for file in files:
        if (other := found.setdefault(_case(file), file)) != file:
            raise InputError(f"is the same case as {other.name}", where=file, remedy="Keep one of them.")
    return found


def _case(path: Path) -> str:
    return stem(path).removesuffix("_0000")
