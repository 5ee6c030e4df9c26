"""A whole data set: every case, and what only shows when cases are compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flarekit.check.case import CaseReport, check_case
from flarekit.check.findings import ERROR, IMAGE, LABEL, WARNING, Finding, counts
from flarekit.check.inventory import Inventory, take_inventory
from flarekit.parallel import Lost, run_cases


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """What was found in a data set."""

    inventory: Inventory  # the files that were read
    cases: tuple[CaseReport, ...]  # in the inventory's order
    findings: tuple[Finding, ...]  # about the data set as a whole

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity, cases' and data set's."""
        return counts(chain(self.findings, *(case.findings for case in self.cases)))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {
            "cases": [_case_to_json(case) for case in self.cases],
            "findings": [asdict(finding) for finding in self.findings],
            "counts": self.counts,
        }


def check_dataset(
    inputs: Sequence[Path], *, labels: Path | None = None, dataset_json: Path | None = None, workers: int = 0
) -> DatasetReport:
    """Check every case of data sets, folders or files (see `take_inventory`), with so many processes beside this one.

    What is wrong with a case is in the report. Raises InputError when an input is missing or holds no case.
    """
    inventory = take_inventory(inputs, labels=labels, dataset_json=dataset_json)
    work = partial(check_case, naming=inventory.naming)
    results = run_cases(work, inventory.entries, workers=workers)
    shown = tqdm(results, total=len(inventory.entries), desc="check", unit="case", disable=None, leave=False)
    found = {entry: _report_of(entry.name, result) for entry, result in shown}
    cases = list(_with_duplicates([found[entry] for entry in inventory.entries]))
    findings = (*inventory.findings, *_never_seen(inventory, cases))
    return DatasetReport(inventory=inventory, cases=tuple(cases), findings=findings)


def _report_of(name: str, result: CaseReport | Lost) -> CaseReport:
    if isinstance(result, CaseReport):
        return result
    return CaseReport(name=name, findings=(Finding(severity=ERROR, code="unreadable", text=result.reason),))


def _with_duplicates(cases: Sequence[CaseReport]) -> Iterator[CaseReport]:
    """The cases, with a warning at those whose voxels another one holds as well."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        for file, facts in ((IMAGE, case.image), (LABEL, case.label)):
            if facts is not None and (file == IMAGE or case.voxels):  # empty label maps are alike without copying
                alike[file, facts.digest].append(case.name)
    for case in cases:
        for file, facts in ((IMAGE, case.image), (LABEL, case.label)):
            others = [name for name in alike[file, facts.digest] if name != case.name] if facts else []
            if others:
                text = f"holds the same voxels as {', '.join(others[:3])}. Keep one, lest it is trained and tested on."
                case = case.with_finding(Finding(severity=WARNING, code="duplicate", file=file, text=text))
        yield case


def _never_seen(inventory: Inventory, cases: Sequence[CaseReport]) -> Iterator[Finding]:
    """A warning where no label map at all shows an organ that some are said to cover."""
    naming = inventory.naming
    labelled = [(entry, case) for entry, case in zip(inventory.entries, cases, strict=True) if case.holds_ids]
    if naming is None or not labelled:
        return
    seen = naming.meant(chain.from_iterable(case.voxels for _, case in labelled))
    covered = sorted(set(chain.from_iterable(entry.labelled for entry, _ in labelled)))
    if never := [naming.organs.names[c - 1] for c in covered if naming.organs.ids[c - 1] not in seen]:
        text = f"no label map of {len(labelled)} holds {', '.join(never)}: name what is labelled in dataset.json."
        yield Finding(severity=WARNING, code="organs-never-seen", text=text, file=LABEL)


def _case_to_json(case: CaseReport) -> dict[str, Any]:
    return {
        "name": case.name,
        "image": case.image and case.image.to_json(),
        "label": case.label and case.label.to_json() | {"voxels": {str(i): n for i, n in case.voxels.items()}},
        "findings": [asdict(finding) for finding in case.findings],
    }
