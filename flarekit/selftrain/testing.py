"""The test cases, scored with every round's models at the very end: nothing is chosen by them.

A model looks at every slice (`segment --no-propagation`); Dice is FLARE22's. Every case's scores are a file of their
own, so that a run which was stopped goes on with the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from flarekit.checkpoints import Registry
from flarekit.config.segment import SegmentConfig
from flarekit.config.selftrain import SelftrainConfig
from flarekit.data.layouts import CaseFiles, CaseList, find_cases
from flarekit.errors import InputError
from flarekit.evaluation import CaseScores, score_case
from flarekit.files import write_json
from flarekit.pipeline.segment import segment
from flarekit.reference import ReferenceModule
from flarekit.selftrain.workplace import Workplace
from flarekit.volumes import read_labels, read_volume, require_same_grid
from flarekit.volumes.hu import parse_offset


def cases_to_test(config: SelftrainConfig) -> CaseList:
    """The test cases. Raises InputError where one has no label map."""
    assert config.test is not None
    offset = parse_offset(config.data.hu_offset)
    found = find_cases(list(config.test.cases), dataset_json=config.data.dataset, hu_offset=offset)
    for case in found.cases:
        if case.label is None:
            raise InputError("has no label map to be scored by", where=case.image, remedy="Leave it out of [test].")
    return found


def unscored(reference: str, found: CaseList, place: Workplace) -> list[CaseFiles]:
    """The cases that a checkpoint has no scores of yet."""
    return [case for case in found.cases if not _file(place, reference, case).is_file()]


def score_checkpoint(
    reference: str, found: CaseList, place: Workplace, registry: Registry, device: torch.device
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
        write_json(_file(place, reference, case), {"case": scores.case, "dice": scores.dice}, overwrite=True)


def read_scores(reference: str, cases: Sequence[str], place: Workplace) -> list[CaseScores]:
    """The scores of a checkpoint on the cases of these names. Raises InputError where one is missing or damaged."""
    return [_read(place.scores(reference) / f"{name}.json") for name in cases]


def _score(case: CaseFiles, found: CaseList, module: ReferenceModule) -> CaseScores:
    assert case.label is not None
    volume = read_volume(case.image, hu_offset=case.hu_offset)
    truth = read_labels(case.label, like=volume)
    require_same_grid(volume, truth)
    mask = segment(volume, module, None, SegmentConfig()).classes
    classes = found.labels.to_classes(truth.array, where=case.label)
    names = found.labels.names
    return score_case(case.name, mask, classes, names).only({names[c - 1] for c in case.labelled})


def _file(place: Workplace, reference: str, case: CaseFiles) -> Path:
    return place.scores(reference) / f"{case.name}.json"


def _read(path: Path) -> CaseScores:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return CaseScores(case=data["case"], dice=data["dice"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"is no case's scores ({error})", where=path, remedy="Delete it, and run `flarekit selftrain run` again."
        ) from error
