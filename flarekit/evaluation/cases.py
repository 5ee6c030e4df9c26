"""Predicted label maps and their truths, paired by file name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from flarekit.data.layouts import LabelledOrgans
from flarekit.errors import InputError
from flarekit.evaluation.dice import CaseScores, score_case
from flarekit.labels import LabelSet
from flarekit.volumes import read_labels, require_same_grid
from flarekit.volumes.formats import SUFFIXES, stem


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A case to score."""

    name: str  # of the case
    predicted: Path
    true: Path


def pair_cases(predicted: Path, true: Path) -> tuple[Pair, ...]:
    """The cases of two files, or of two folders: every truth has a prediction of its name.

    As in FLARE22, `_0000` at the end of a name does not count; predictions without a truth are left out.
    Raises InputError when a path is missing, a folder stands beside a file, or a prediction is missing.
    """
    for path in (predicted, true):
        if not os.path.exists(path):  # unlike Path.exists, False for a name that is too long
            raise InputError("does not exist", where=path, remedy="Check the path.")
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
    pairs: Sequence[Pair], labels: LabelSet, labelled: LabelledOrgans | None = None
) -> Iterator[CaseScores]:
    """The scores of every case, of the organs that `labelled` says its truth covers, of all without it.

    Raises InputError when files cannot be read or lie on different grids.
    """
    labelled = labelled or LabelledOrgans(default=labels.parse(None))
    for pair in tqdm(pairs, desc="scoring", unit="case", disable=None, leave=False):
        predicted, true = read_labels(pair.predicted), read_labels(pair.true)
        require_same_grid(predicted, true)
        scores = score_case(
            pair.name,
            labels.to_classes(predicted.array, where=pair.predicted),
            labels.to_classes(true.array, where=pair.true),
            labels.names,
        )
        yield scores.only({labels.names[c - 1] for c in labelled.of(pair.name)})


def _label_maps(folder: Path) -> dict[str, Path]:
    files = sorted(f for f in folder.iterdir() if f.name.lower().endswith(SUFFIXES) and not f.name.startswith("."))
    found: dict[str, Path] = {}
    for file in files:
        if (other := found.setdefault(_case(file), file)) != file:
            raise InputError(f"is the same case as {other.name}", where=file, remedy="Keep one of them.")
    return found


def _case(path: Path) -> str:
    return stem(path).removesuffix("_0000")
