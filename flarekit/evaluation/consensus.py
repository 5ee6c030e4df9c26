"""Pseudo-labels beside the truth: every score that a ledger holds, and the Dice that it stands for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flarekit.consensus.ledger import LEDGER, LedgerFile, Record, RoundSettings, read_ledger
from flarekit.data.layouts import DESCRIPTION, LabelledOrgans, case_name, volumes_in
from flarekit.errors import FlarekitError, InputError
from flarekit.evaluation.dice import Overlap
from flarekit.labels import IGNORE, LabelSet, read_dataset_json
from flarekit.volumes import read_labels, require_same_grid

logger = logging.getLogger(__name__)

_OTHER_THINGS = ("round", "threshold", "hu_offset_asked", "previous")  # settings that may differ between kinds


@dataclass(frozen=True, kw_only=True)
class JudgedOrgan:
    """One organ of a case. Dice is that of the pseudo-label against the truth."""

    scores: dict[str, float]  # by mode; empty when no member found the organ
    dice: float


@dataclass(frozen=True, kw_only=True)
class JudgedCase:
    """A pseudo-label whose truth is known."""

    kind: str  # what was done to the image, or where it comes from
    case: str  # cases of one name are images of the same anatomy
    kept: bool  # by the round's threshold
    scores: dict[str, float]  # by mode
    dice: float  # mean over organs that the truth or the pseudo-label shows
    organs: dict[str, JudgedOrgan]  # of those


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What could be judged of one or more ledgers."""

    mode: str  # the rounds' own score
    cases: tuple[JudgedCase, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # why, by KIND/CASE


@dataclass(frozen=True, kw_only=True)
class TrueMasks:
    """The label maps that are known to be right."""

    folder: Path
    files: dict[str, Path]  # by case
    labels: LabelSet
    labelled: LabelledOrgans | None = None  # which organs they cover; all of them without

    @classmethod
    def of(cls, folder: Path, labels: LabelSet, labelled: LabelledOrgans | None = None) -> TrueMasks:
        """Those of a folder. Raises InputError."""
        files = {case_name(file): file for file in volumes_in(folder)}
        return cls(folder=folder, files=files, labels=labels, labelled=labelled)

    def file_of(self, case: str) -> Path:
        """The case's label map. Raises InputError."""
        if case not in self.files:
            raise InputError(f"has no label map called {case}", where=self.folder)
        return self.files[case]

    def covers(self, case: str) -> np.ndarray:
        """bool (organs,): which organs the case's label map covers."""
        covered = self.labels.parse(None) if self.labelled is None else self.labelled.of(case)
        return np.isin(np.arange(1, self.labels.classes), covered)


def judge_ledgers(kinds: Mapping[str, Path], truth: TrueMasks) -> Judged:
    """Every case of the ledgers in the folders `kinds` that has a mask, beside the truth of its name.

    Masks of rejected cases are there when `pseudolabel --write-rejected` made them. A case in which no member found
    an organ has the score 0; an organ that neither the truth nor the mask shows says nothing and is left out, and so
    are organs that the ledger ignores or that the truth does not cover.
    Raises InputError when a ledger is missing or of another round than the first, or no case can be judged.
    """
    ledgers = {kind: read_ledger(folder / LEDGER) for kind, folder in kinds.items()}
    settings = _common_settings(ledgers, kinds)
    if settings.certainty:
        logger.warning(
            "The masks have voxels with a certainty of %g or more: Dice is of these voxels, scores are of all.",
            settings.certainty,
        )
    cases, left_out = [], {}
    for kind, ledger in ledgers.items():
        names = _labels_of(kinds[kind], truth.labels, settings)
        for record in tqdm(ledger.records.values(), desc=kind, unit="case", disable=None, leave=False):
            try:
                cases.append(_judge(kind, kinds[kind], record, names, truth))
            except FlarekitError as error:
                left_out[f"{kind}/{record.case}"] = str(error)
                logger.warning("left out: %s/%s: %s", kind, record.case, error)
    if not cases:
        raise InputError(
            f"gives no case to judge: {next(iter(left_out.values()))}",
            where=", ".join(str(folder) for folder in kinds.values()),
            remedy="Run `pseudolabel` with --write-rejected, and name the folder of the true label maps last.",
        )
    return Judged(mode=settings.mode, cases=tuple(cases), left_out=left_out)


def modes_of(cases: Sequence[JudgedCase]) -> tuple[str, ...]:
    """The modes that every case has a score of, in the first case's order."""
    return tuple(mode for mode in cases[0].scores if all(mode in case.scores for case in cases))


def _common_settings(ledgers: Mapping[str, LedgerFile], kinds: Mapping[str, Path]) -> RoundSettings:
    settings = next(iter(ledgers.values())).settings
    for kind, ledger in ledgers.items():
        changed = [name for name in settings.differences(ledger.settings) if name not in _OTHER_THINGS]
        if changed:
            raise InputError(
                f"is of another round than {next(iter(kinds.values()))}: another {', '.join(changed)}",
                where=kinds[kind],
                remedy="Scores can be compared when the same members made them in the same way.",
            )
    return settings


def _labels_of(folder: Path, labels: LabelSet, settings: RoundSettings) -> LabelSet:
    """What the ids in the ledger's masks mean. Raises InputError for other organs than the truth's."""
    names = read_dataset_json(folder / DESCRIPTION) if (folder / DESCRIPTION).is_file() else labels
    if settings.organs != labels.names or names.names != labels.names:
        raise InputError(
            f"holds other organs than the truth's label set {labels.name!r}",
            where=folder,
            remedy="Name the truth's dataset.json with --dataset.",
        )
    return names


def _judge(kind: str, folder: Path, record: Record, names: LabelSet, truth: TrueMasks) -> JudgedCase:
    if record.mask is None:
        raise InputError(f"{record.status} without a mask", remedy="Run `pseudolabel` with --write-rejected.")
    true_file = truth.file_of(record.case)
    overlap = _overlap(folder / record.mask, names, true_file, truth.labels)
    shown = (overlap.predicted + overlap.true > 0) & truth.covers(record.case)
    organs = {
        name: JudgedOrgan(scores=_scores_of(name, record), dice=float(overlap.dice[index]))
        for index, name in enumerate(names.names)
        if shown[index] and name not in record.ignored
    }
    if not organs:
        raise InputError("shows no organ, nor does the mask", where=true_file)
    return JudgedCase(
        kind=kind,
        case=record.case,
        kept=record.kept,
        scores={mode: score or 0.0 for mode, score in record.case_scores.items()},
        dice=float(np.mean([organ.dice for organ in organs.values()])),
        organs=organs,
    )


def _overlap(mask_file: Path, mask_labels: LabelSet, true_file: Path, true_labels: LabelSet) -> Overlap:
    """Voxels of each organ in a mask and its truth, but for those that either of the two ignores."""
    mask, truth = read_labels(mask_file), read_labels(true_file)
    require_same_grid(mask, truth)
    predicted = mask_labels.to_classes(mask.array, where=mask_file)
    true = true_labels.to_classes(truth.array, where=true_file)
    return Overlap.of(predicted, np.where(predicted == IGNORE, np.uint8(IGNORE), true), len(true_labels.names))


def _scores_of(organ: str, record: Record) -> dict[str, float]:
    found = {mode: scores.get(organ) for mode, scores in record.organ_means.items()}
    return {mode: score for mode, score in found.items() if score is not None}
