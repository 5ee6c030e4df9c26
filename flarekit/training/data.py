"""Which cases a run learns from and which it is judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.config.run import Stores, parse_fold
from flarekit.data.network_case import NetworkCase
from flarekit.data.store import SliceStore
from flarekit.errors import InputError, TrainingError
from flarekit.labels import LabelSet
from flarekit.training.pseudo_labels import LabelledCases, PseudoLabels, lay_over


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The cases of a run. No case of `validation` is in the others."""

    labels: LabelSet
    labelled: tuple[NetworkCase, ...]  # those with pseudo-labels last
    unlabelled: tuple[NetworkCase, ...]  # those with pseudo-labels too
    validation: tuple[NetworkCase, ...]
    pseudo_labels: tuple[LabelledCases, ...] = ()  # which of `labelled` learn from whose labels

    @property
    def painted(self) -> tuple[str, ...]:
        """The stores of which painted CTs are learned from, by their folders' names."""
        folders = (case.store.path for case in (*self.labelled, *self.unlabelled) if _is_painted(case))
        return tuple(folder.resolve().name for folder in dict.fromkeys(folders))

    def by_trust(self) -> tuple[tuple[NetworkCase, ...], tuple[NetworkCase, ...]]:
        """The labelled cases: those with true labels, and those with pseudo-labels."""
        pseudo = tuple(case for part in self.pseudo_labels for case in part.cases)
        return self.labelled[: len(self.labelled) - len(pseudo)], pseudo

    def fingerprint(self) -> str:
        """SHA-256 of all cases in their roles, by name and source files: another value means other samples."""
        roles = (self.labelled, self.unlabelled, self.validation)
        text = "\n\n".join("\n".join(_identity(case) for case in cases) for cases in roles)
        return hashlib.sha256(text.encode()).hexdigest()


def shared_labels(stores: Stores) -> LabelSet:
    """The label set of all labelled stores. Raises InputError when they differ."""
    opened = [SliceStore.open(path) for path in _with_labels(stores)]
    for store in opened[1:]:
        if store.labels.names != opened[0].labels.names:
            raise InputError(
                f"has other organs than {opened[0].path}", where=store.path, remedy="Train on one set of organs."
            )
    return opened[0].labels


def gather(stores: Stores, preprocessing: PreprocessingConfig, *, seed: int) -> TrainingData:
    """The cases of the stores. Raises InputError, and TrainingError when no case has labels."""
    labels = shared_labels(stores)
    given = [case for path in stores.labelled for case in _cases(path, preprocessing)]
    labelled = [case for case in given if case.organs]
    if not labelled:
        raise TrainingError(
            "no case has labels",
            where=", ".join(map(str, stores.labelled)),
            remedy="Preprocess the cases together with their label maps.",
        )
    unlabelled = [case for case in given if not case.organs]
    unlabelled += [case for path in stores.unlabelled for case in _cases(path, preprocessing)]
    if stores.validation is not None:
        validation = _validation_cases(stores.validation, preprocessing)
        _refuse_overlap(labelled, validation, stores.validation)
    else:
        labelled, validation = _split(labelled, _held_back(_sources(labelled), stores, seed))
    unlabelled = _apart(unlabelled, validation)
    rounds = [PseudoLabels.open(path, labels) for path in stores.pseudo_labels]
    pseudo = lay_over(_apart(unlabelled, labelled), rounds, labels)  # where there is truth, it is learned from
    return TrainingData(
        labels=labels,
        labelled=(*labelled, *(case for part in pseudo for case in part.cases)),
        unlabelled=tuple(unlabelled),
        validation=tuple(validation),
        pseudo_labels=pseudo,
    )


def _sources(cases: Sequence[NetworkCase]) -> list[str]:
    """The CTs that the cases show, each once."""
    return list(dict.fromkeys(_source(case) for case in cases))


def _with_labels(stores: Stores) -> list[Path]:
    return [*stores.labelled, *([stores.validation] if stores.validation is not None else [])]


def _cases(path: Path, preprocessing: PreprocessingConfig) -> list[NetworkCase]:
    store = SliceStore.open(path)
    if not store.cases:
        raise InputError("holds no case", where=path, remedy="Fill it with flarekit preprocess.")
    kind = NetworkCase if store.config.tissues is None else _repainted()
    return [kind(store, name, preprocessing) for name in store.cases]


def _repainted() -> type[NetworkCase]:
    """What a store of tissues is read by, imported when there is one."""
    from flarekit.phantom.repainted_case import RepaintedCase

    return RepaintedCase


def _validation_cases(path: Path, preprocessing: PreprocessingConfig) -> list[NetworkCase]:
    cases = [case for case in _cases(path, preprocessing) if case.organs]
    if not cases:
        raise InputError("holds no labelled case", where=path, remedy="Validate on cases with labels.")
    return cases


def _held_back(sources: Sequence[str], stores: Stores, seed: int) -> set[str]:
    """The CTs to validate on: a fold, or a share drawn by the seed."""
    if stores.fold is not None:
        return _in_fold(sources, stores)
    share = stores.held_back
    count = min(max(1, round(share * len(sources))), len(sources) - 1) if share else 0
    order = np.random.default_rng(seed).permutation(len(sources))
    return {sources[index] for index in order[:count]}


def _in_fold(sources: Sequence[str], stores: Stores) -> set[str]:
    """Every n-th CT in the order of their hashes, which is neither the seed's nor the stores'."""
    number, count = parse_fold(stores.fold or "")
    if len(sources) < count:
        raise InputError(
            f"fold {stores.fold} needs {count} labelled CTs, there are {len(sources)}",
            where=", ".join(map(str, stores.labelled)),
            remedy="Take fewer folds, or name a store with --validation.",
        )
    return set(sorted(sources)[number - 1 :: count])


def _split(cases: Sequence[NetworkCase], back: set[str]) -> tuple[list[NetworkCase], list[NetworkCase]]:
    """The cases to train on and those to validate on. One CT given twice is on one side alone."""
    held = [case for case in cases if _source(case) in back]
    return _apart(cases, held), held


def _apart(cases: Sequence[NetworkCase], others: Sequence[NetworkCase]) -> list[NetworkCase]:
    """The cases without those that show a CT of the others: one that is validated on, say."""
    sources = {_source(case) for case in others}
    return [case for case in cases if _source(case) not in sources]


def _refuse_overlap(labelled: Sequence[NetworkCase], validation: Sequence[NetworkCase], where: Path) -> None:
    shared = {_source(case) for case in labelled} & {_source(case) for case in validation}
    names = sorted(case.name for case in validation if _source(case) in shared)
    if names:
        raise InputError(
            f"holds cases that are trained on: {', '.join(names[:5])}",
            where=where,
            remedy="Validate on other cases.",
        )


def _source(case: NetworkCase) -> str:
    return case.store.case(case.name).header.source_sha256


def _is_painted(case: NetworkCase) -> bool:
    return case.store.config.tissues is not None or case.store.case(case.name).header.painted


def _identity(case: NetworkCase) -> str:
    header = case.store.case(case.name).header if case.overlay is None else case.overlay.header
    return f"{case.name} {_source(case)} {header.labels_sha256}"
