"""The first step: the CTs of a run of rounds into slice stores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flarekit.config.selftrain import DataConfig
from flarekit.data.layouts import CaseFiles, CaseList, find_cases
from flarekit.data.preprocess import FAILED, preprocess, store_case
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.errors import InputError
from flarekit.labels import LabelSet
from flarekit.selftrain.workplace import Workplace
from flarekit.volumes.hu import parse_offset

ROLES = ("labelled", "unlabelled", "validation")

logger = logging.getLogger(__name__)


def store_cases(config: DataConfig, place: Workplace) -> None:
    """Fill the stores of labelled, unlabelled and, where there are any, validation cases.

    Cases that are stored already are skipped. One that cannot be read is named in a warning, and left out of the run.
    Raises InputError when no case of a role is left, or the data sets have different organs, and OutputError.
    """
    for role in ROLES:
        if getattr(config, role):
            _store(role, cases_of(config, role), place.store(role), config.workers)


def organs_of(config: DataConfig) -> LabelSet:
    """The organs of the labelled cases. Raises InputError where any role's cases are not there."""
    found = {role: cases_of(config, role) for role in ROLES if getattr(config, role)}
    return found["labelled"].labels


def cases_of(config: DataConfig, role: str) -> CaseList:
    """The cases of a role; unlabelled ones without the labels that may lie beside them. Raises InputError."""
    paths: Sequence[Path] = getattr(config, role)
    offset = parse_offset(config.hu_offset)
    found = find_cases(list(paths), dataset_json=config.dataset, hu_offset=offset)
    if role != "unlabelled":
        return found
    labels = cases_of(config, "labelled").labels  # an unlabelled data set need not say what it lacks
    return CaseList(cases=tuple(replace(case, label=None, labelled=()) for case in found.cases), labels=labels)


def stored_unlabelled(config: DataConfig, place: Workplace) -> list[CaseFiles]:
    """The unlabelled cases that could be stored. Raises InputError."""
    stored = set(SliceStore.open(place.store("unlabelled")).cases)
    return [case for case in cases_of(config, "unlabelled").cases if case.name in stored]


def _store(role: str, found: CaseList, folder: Path, workers: int) -> None:
    store = SliceStore.open_or_plan(folder, StoreConfig(labels=found.labels))
    failed = {result.name for result in preprocess(found.cases, store, workers=workers) if result.status == FAILED}
    unreadable = [case for case in found.cases if case.name in failed and not _stored_alone(role, case, store)]
    if len(unreadable) == len(found.cases):
        raise InputError(f"no {role} case can be read", where=folder, remedy="Mend what is named above.")
    logger.info("%d %s cases are stored.", len(found.cases) - len(unreadable), role)


def _stored_alone(role: str, case: CaseFiles, store: SliceStore) -> bool:
    """Whether a case that failed can be stored after all. Raises OutputError where it is not the case's own fault."""
    try:
        store_case(case, store)
    except InputError as error:
        logger.warning("%s case %s is left out: %s", role, case.name, error)
        return False
    return True
