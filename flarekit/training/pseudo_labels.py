"""Pseudo-labels as training reads them: the kept masks of a ledger, laid over the cases of slice stores.

A case with a pseudo-label joins the labelled ones, as in the paper (section 2.2). It is still drawn among the
unlabelled ones too: what was not trusted of it is learned without labels, and CPS keeps its data when all are labelled.
An organ that its mask does not show counts as one that nobody looked for (ours): weak models miss organs in unison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from flarekit.checkpoints import Provenance, Registry
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.consensus.ledger import LEDGER, MemberEntry, Record, RoundSettings, read_ledger
from flarekit.data.case_file import StoredCase
from flarekit.data.network_case import NetworkCase
from flarekit.data.overlay import Overlay, write_overlay
from flarekit.data.store import SliceStore
from flarekit.errors import CheckpointError, InputError
from flarekit.files import sha256
from flarekit.labels import DESCRIPTION, IGNORE, LabelSet, read_dataset_json

OVERLAYS = "overlay"


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """What a run of `flarekit pseudolabel` kept."""

    folder: Path
    ledger_sha256: str
    settings: RoundSettings
    kept: dict[str, Record]  # by case

    @classmethod
    def open(cls, folder: Path, labels: LabelSet) -> PseudoLabels:
        """What lies in a folder.

        Raises InputError when it has no ledger, or one that keeps no case or is of other organs than `labels` names.
        """
        path = folder / LEDGER
        if not path.is_file():
            raise InputError(
                f"holds no {LEDGER}", where=folder, remedy="Name a folder that flarekit pseudolabel wrote."
            )
        ledger = read_ledger(path)
        if ledger.settings.organs != labels.names:
            raise InputError(
                "is of other organs than the stores have", where=path, remedy="Train on the organs that were labelled."
            )
        kept = {name: record for name, record in ledger.records.items() if record.kept}
        if not kept:
            raise InputError("keeps no case", where=path, remedy="Label again with a lower --threshold.")
        return cls(folder=folder, ledger_sha256=sha256(path), settings=ledger.settings, kept=kept)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The checkpoints that labelled, NAME@VERSION; label maps from elsewhere are none."""
        names = [name for member in self.settings.members if _is_ours(member) for name in member.name.split("+")]
        return tuple(dict.fromkeys(names))

    @property
    def strangers(self) -> tuple[str, ...]:
        """The folders of label maps that voted."""
        return tuple(member.name for member in self.settings.members if not _is_ours(member))


@dataclass(frozen=True, kw_only=True)
class LabelledCases:
    """The cases that learn from one run's pseudo-labels."""

    labels: PseudoLabels
    cases: tuple[NetworkCase, ...]


def lay_over(
    cases: Sequence[NetworkCase], given: Sequence[PseudoLabels], labels: LabelSet
) -> tuple[LabelledCases, ...]:
    """The cases that have a pseudo-label, with it; where several of `given` have one, with that of the last.

    A mask is brought into the form that training reads when it is first asked for, and kept so in its folder.
    Raises InputError when one of `given` has none of these cases, or a mask was made on another CT or does not fit.
    """
    for each in given:
        _require_cases(each, cases)
    owner = {index: each for each in given for index, case in enumerate(cases) if _is_of(each, case)}
    laid = []
    for each in given:
        mine = [cases[index] for index, last in sorted(owner.items()) if last is each]
        overlaid = tuple(_overlaid(case, each, labels) for case in _shown(mine))
        laid.append(LabelledCases(labels=each, cases=tuple(case for case in overlaid if case.organs)))
    return tuple(part for part in laid if part.cases)


def prepare(folder: Path, store: SliceStore) -> int:
    """Make the overlays of a folder's kept masks of the cases in a store; how many there are now. Raises InputError."""
    cases = [NetworkCase(store, name, PreprocessingConfig()) for name in store.cases]
    laid = lay_over(cases, [PseudoLabels.open(folder, store.labels)], store.labels)
    return sum(len(part.cases) for part in laid)


def inherited(provenance: Provenance, given: Sequence[PseudoLabels], registry: Registry) -> Provenance:
    """The provenance of a network that also learned from these labels: what its teachers saw, it saw.

    Who is not in the registry may have seen anything, and counts as one that did.
    """
    seen = [_seen_by(name, registry) for name in dict.fromkeys(name for each in given for name in each.teachers)]
    seen += [_unknown(name) for each in given for name in each.strangers]
    return replace(
        provenance,
        data=tuple(dict.fromkeys((*provenance.data, *(name for each in seen for name in each.data)))),
        pretrained_or_extra_data=any(each.pretrained_or_extra_data for each in (provenance, *seen)),
    )


def _seen_by(teacher: str, registry: Registry) -> Provenance:
    try:
        return registry.card(teacher).provenance
    except CheckpointError:
        return _unknown(teacher)


def _unknown(member: str) -> Provenance:
    return Provenance(data=(f"labels by {member}, of which nothing is known",), pretrained_or_extra_data=True)


def _is_ours(member: MemberEntry) -> bool:
    return member.kind != "masks"


def _require_cases(given: PseudoLabels, cases: Sequence[NetworkCase]) -> None:
    """Raises InputError where none of the cases has a mask of these, or the CT of a mask is not among its namesakes."""
    found = {case.name for case in cases if _is_of(given, case)}
    named = {case.name for case in cases if case.name in given.kept}
    if other := sorted(named - found):
        raise InputError(
            f"{other[0]!r} was labelled on another CT than the one that is stored (SHA-256 differs)",
            where=given.folder,
            remedy="Label the CTs that the store was made from, or store them again.",
        )
    if not named:
        raise InputError(
            f"keeps none of the {len(cases)} unlabelled cases",
            where=given.folder,
            remedy="Name the store of the CTs that were labelled with --unlabelled.",
        )


def _is_of(given: PseudoLabels, case: NetworkCase) -> bool:
    """Whether the case's CT is one that a kept mask was made on; stores may hold others of the same name."""
    record = given.kept.get(case.name)
    return record is not None and record.image_sha256 == case.store.case(case.name).header.source_sha256


def _shown(cases: Sequence[NetworkCase]) -> Sequence[NetworkCase]:
    shown: Sequence[NetworkCase] = tqdm(cases, desc="pseudo-labels", unit="case", disable=None, leave=False)
    return shown


def _overlaid(case: NetworkCase, given: PseudoLabels, labels: LabelSet) -> NetworkCase:
    record, stored = given.kept[case.name], case.store.case(case.name)
    assert record.mask is not None
    mask, path = given.folder / record.mask, given.folder / OVERLAYS / f"{case.name}.h5"
    if not _is_current(path, mask, stored):
        write_overlay(path, mask, stored, _in_files(given.folder, labels))
    return NetworkCase(case.store, case.name, case.config, overlay=Overlay(path))


def _is_current(path: Path, mask: Path, stored: StoredCase) -> bool:
    """Whether the overlay there is of this case and mask. Raises InputError where only another can be had."""
    if not path.is_file():
        return False
    header, of_case = Overlay(path).header, stored.header
    fits = (header.source_sha256, header.source.shape) == (of_case.source_sha256, of_case.source.shape)
    if mask.exists():
        return fits and header.labels_sha256 == sha256(mask)
    if not fits:
        raise InputError(
            f"is the overlay of another CT than {of_case.name!r}",
            where=path,
            remedy=f"Bring {mask.name} along, which it can be made from again.",
        )
    return True


def _in_files(folder: Path, labels: LabelSet) -> LabelSet:
    """What the ids in a folder's masks mean: as its dataset.json says, else the store's, and 255 for not known."""
    if (folder / DESCRIPTION).is_file():
        return read_dataset_json(folder / DESCRIPTION)
    return labels if IGNORE in labels.ids else replace(labels, ignore_id=IGNORE)
