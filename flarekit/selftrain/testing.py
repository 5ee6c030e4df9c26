"""The test cases, scored with every round's models at the very end: nothing is chosen by them.

A model looks at every slice (`segment --no-propagation`); Dice is FLARE22's. Every case's scores are a file of their
own, so that a run which was stopped goes on with the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from tqdm import tqdm

from flarekit.checkpoints import Registry
from flarekit.config.segment import SegmentConfig
from flarekit.config.selftrain import SelftrainConfig
from flarekit.data.digest import digest
from flarekit.data.layouts import CaseFiles, find_cases
from flarekit.errors import InputError
from flarekit.evaluation import CaseScores, score_case
from flarekit.files import write_json
from flarekit.labels import LabelSet
from flarekit.pipeline.segment import segment
from flarekit.reference import ReferenceModule
from flarekit.selftrain.workplace import Workplace
from flarekit.volumes import read_labels, read_volume, require_same_grid
from flarekit.volumes.hu import parse_offset


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The test cases."""

    cases: tuple[CaseFiles, ...]
    labels: LabelSet

    @cached_property
    def digests(self) -> dict[str, list[str]]:
        """SHA-256 of every case's CT and of its label map, by case. Raises InputError."""
        return {case.name: [digest(case.image, case.series), digest(_label_of(case))] for case in self.cases}


def cases_to_test(config: SelftrainConfig) -> HeldOut:
    """The test cases. Raises InputError where one has no label map."""
    assert config.test is not None
    offset = parse_offset(config.data.hu_offset)
    found = find_cases(list(config.test.cases), dataset_json=config.data.dataset, hu_offset=offset)
    for case in found.cases:
        _label_of(case)
    return HeldOut(cases=tuple(found.cases), labels=found.labels)


def unscored(reference: str, found: HeldOut, place: Workplace) -> list[CaseFiles]:
    """The cases that a checkpoint has no scores of yet, or none of the files as they are. Raises InputError."""
    return [case for case in found.cases if not _is_scored(_file(place, reference, case), found.digests[case.name])]


def score_checkpoint(
    reference: str, found: HeldOut, place: Workplace, registry: Registry, device: torch.device
) -> None:
    """Write the checkpoint's scores of the cases that have none. Raises InputError, CheckpointError or OutputError."""
    todo = unscored(reference, found, place)
    module = ReferenceModule(registry.load(reference, kind="reference"), device=device)
    if module.labels.names != found.labels.names:
        raise InputError(
            f"the test cases have other organs than {reference} segments",
            where=todo[0].label,
            remedy="Name the organs alike in their dataset.json.",
        )
    for case in tqdm(todo, desc=f"testing {reference}", unit="case", disable=None, leave=False):
        scores = _score(case, found, module)
        known = {"case": scores.case, "dice": scores.dice, "files_sha256": found.digests[case.name]}
        write_json(_file(place, reference, case), known, overwrite=True)


def read_scores(reference: str, cases: Sequence[str], place: Workplace) -> list[CaseScores]:
    """The scores of a checkpoint on the cases of these names. Raises InputError where one is missing or damaged."""
    return [_read(place.scores(reference) / f"{name}.json") for name in cases]


def _is_scored(path: Path, digests: list[str]) -> bool:
    """Whether a file holds scores of files with these digests; one that does not say of which is held to do so."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return data.get("files_sha256", digests) == digests
    except (OSError, ValueError, AttributeError):
        return False


def _label_of(case: CaseFiles) -> Path:
    if case.label is None:
        raise InputError("has no label map to be scored by", where=case.image, remedy="Leave it out of [test].")
    return case.label


def _score(case: CaseFiles, found: HeldOut, module: ReferenceModule) -> CaseScores:
    label = _label_of(case)
    volume = read_volume(case.image, hu_offset=case.hu_offset)
    truth = read_labels(label, like=volume)
    require_same_grid(volume, truth)
    mask = segment(volume, module, None, SegmentConfig(least_piece=0)).classes
    classes = found.labels.to_classes(truth.array, where=label)
    names = found.labels.names
    return score_case(case.name, mask, classes, names).only({names[c - 1] for c in case.labelled})


def _file(place: Workplace, reference: str, case: CaseFiles) -> Path:
    return place.scores(reference) / f"{case.name}.json"


def _read(path: Path) -> CaseScores:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return CaseScores(case=data["case"], dice={organ: float(dice) for organ, dice in data["dice"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"is no case's scores ({error})", where=path, remedy="Delete it, and run `flarekit selftrain run` again."
        ) from error
