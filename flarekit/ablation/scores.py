"""Scores of a row's masks, kept beside them: a case is scored once for the same mask, truth and rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from flarekit.data.digest import digest
from flarekit.data.layouts import LabelledOrgans
from flarekit.errors import InputError
from flarekit.evaluation.cases import FailedCase, Pair, score_pairs
from flarekit.evaluation.dice import CaseScores
from flarekit.evaluation.rules import ScoringRules
from flarekit.files import write_json
from flarekit.labels import LabelSet
from flarekit.volumes import read_labels, read_volume, require_same_grid

CASES, SCORES = "cases.json", "scores.json"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the test cases are scored by."""

    labels: LabelSet
    labelled: LabelledOrgans  # which organs the true label maps cover
    rules: ScoringRules

    def to_json(self) -> dict[str, Any]:
        """What scores depend on beside the masks, as a plain dictionary."""
        return {
            "tolerance_mm": dict(self.rules.tolerance_mm),
            "labelled": list(self.labelled.default),
            "labelled_by_case": {name: list(classes) for name, classes in self.labelled.by_case.items()},
        }


def require_same_cases(folder: Path, cases: Sequence[Pair], labels: LabelSet) -> dict[str, str]:
    """Note what the CTs and truths are, or see that they are the ones that were noted; new cases may join.

    The digests of the CTs come back, by case. Raises InputError where a case's files have changed since its masks were
    made, and where those of a new case cannot be read, lie on different grids, or hold other labels.
    """
    path = folder / CASES
    known: dict[str, list[str]] = _own(path)
    for case in tqdm(cases, desc="test cases", unit="case", disable=None, leave=False):
        if case.name not in known:
            _require_readable(case, labels)
        found = [digest(case.predicted), digest(case.true)]
        if known.setdefault(case.name, found) != found:
            raise InputError(
                f"is not the case {case.name!r} that was scored here before",
                where=case.predicted,
                remedy="Choose another output folder, or put its old files back.",
            )
    write_json(path, known, overwrite=True)
    return {case.name: known[case.name][0] for case in cases}


def _require_readable(case: Pair, labels: LabelSet) -> None:
    image = read_volume(case.predicted)
    true = read_labels(case.true, like=image)
    require_same_grid(image, true)
    labels.to_classes(true.array, where=case.true)


def score_masks(masks: Path, cases: Sequence[Pair], truth: Truth) -> list[CaseScores]:
    """The scores of the cases whose masks lie in a folder, in their order. Raises InputError where one has none."""
    path, settings = masks / SCORES, truth.to_json()
    stored = _own(path)
    known: dict[str, Any] = stored.get("cases", {}) if stored.get("rules") == settings else {}
    pairs = [
        Pair(name=case.name, predicted=masks / f"{case.name}.nii.gz", true=case.true)
        for case in cases
        if case.name not in known
    ]
    for scores in score_pairs(pairs, truth.labels, truth.labelled, truth.rules) if pairs else ():
        if isinstance(scores, FailedCase):
            raise InputError(scores.error.rstrip("."))
        known[scores.case] = {"dice": scores.dice, "nsd": scores.nsd}
    write_json(path, {"rules": settings, "cases": known}, overwrite=True)
    return [CaseScores(case=case.name, **known[case.name]) for case in cases]


def mean_seconds(masks: Path, cases: Sequence[Pair]) -> float:
    """What a case took to segment on average, reading and writing apart. Raises InputError."""
    return fmean(_seconds(masks / f"{case.name}.json") for case in cases)


def _seconds(path: Path) -> float:
    seconds = _own(path).get("seconds")
    if not isinstance(seconds, int | float):
        raise _damaged(path, f"seconds are {seconds!r}")
    return seconds


def _own(path: Path) -> dict[str, Any]:
    """What a file that an earlier run left says; nothing where there is none. Raises InputError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(data, dict):
        raise _damaged(path, "nothing has a name")
    return data


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"is damaged ({why})", where=path, remedy="Delete it, and give the same line again.")
