"""One case: its image, its label map, and whether they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from flarekit.check.findings import ERROR, IMAGE, LABEL, SEVERITIES, Finding
from flarekit.check.grids import grid_findings, pair_findings
from flarekit.check.intensity import intensity_findings
from flarekit.check.inventory import Entry
from flarekit.check.label_ids import NOT_IDS, Naming, label_findings
from flarekit.check.stored import FileFacts, StoredVolume, facts_of, read_image, read_label, sample_of
from flarekit.errors import FlarekitError


@dataclass(frozen=True, kw_only=True)
class CaseReport:
    """What was found in a case."""

    name: str
    image: FileFacts | None = None  # None where there is none, or it cannot be read
    label: FileFacts | None = None
    voxels: dict[int, int] = field(default_factory=dict)  # of the label map, by id
    findings: tuple[Finding, ...] = ()

    @property
    def holds_ids(self) -> bool:
        """Whether there is a label map, and its voxels are whole numbers."""
        return self.label is not None and all(finding.code != NOT_IDS for finding in self.findings)

    def with_finding(self, finding: Finding) -> CaseReport:
        """The report with one more finding."""
        return replace(self, findings=(*self.findings, finding))


def check_case(entry: Entry, naming: Naming | None) -> CaseReport:
    """Read both files of a case once and say what is wrong; a file that cannot be read is a finding too."""
    findings = list(entry.findings)
    image = _opened(entry.image, IMAGE, read_image, findings)
    label = _opened(entry.label, LABEL, partial(read_label, image=image), findings)
    image_facts, label_facts = (None if stored is None else facts_of(stored) for stored in (image, label))
    voxels: dict[int, int] = {}
    if image is not None and image_facts is not None:
        findings += intensity_findings(image_facts.values, sample_of(image))
    if label is not None:
        voxels, problems = label_findings(label, entry.labelled, naming)
        findings += problems
    if image is not None and label is not None:
        findings += pair_findings(image.volume, label.volume)
    return CaseReport(
        name=entry.name,
        image=image_facts,
        label=label_facts,
        voxels=voxels,
        findings=tuple(sorted(findings, key=_order)),
    )


def _opened(
    path: Path | None, file: str, read: Callable[[Path], StoredVolume], findings: list[Finding]
) -> StoredVolume | None:
    """The file's numbers; what is wrong with reading them, and with their grid, joins the findings."""
    if path is None:
        return None
    try:
        stored = read(path)
    except FlarekitError as error:
        text = f"{error.what}. {error.remedy}".rstrip()
        findings.append(Finding(severity=ERROR, code="unreadable", file=file, text=text))
        return None
    findings += grid_findings(stored, file)
    return stored


def _order(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)
