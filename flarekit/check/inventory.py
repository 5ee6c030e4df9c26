"""The cases of a data set as they are, with images that have no label map and label maps that have no image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flarekit.check.findings import ERROR, IMAGE, LABEL, WARNING, Finding
from flarekit.check.label_ids import Naming
from flarekit.data.layouts import (
    DESCRIPTION,
    LabelledOrgans,
    case_name,
    cases_of,
    common_labels,
    layout_of,
    parts_of,
    volumes_in,
)
from flarekit.errors import InputError, UsageError
from flarekit.labels import LabelSet, read_dataset_json
from flarekit.volumes.formats import stem


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case, or what there is of it."""

    name: str
    image: Path | None = None
    label: Path | None = None
    root: Path  # the folder whose layout a copy keeps
    labelled: tuple[int, ...] = ()  # classes that the label map should cover
    findings: tuple[Finding, ...] = ()  # what is known before a file is read

    def copy_in(self, folder: Path, file: Path) -> Path:
        """Where a copy of the case's image or label map lies in a copy of its data set."""
        inside = file.is_relative_to(self.root)
        return folder / (file.relative_to(self.root) if inside else Path(file.parent.name) / file.name)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All cases of some inputs, sorted by name."""

    entries: tuple[Entry, ...]
    naming: Naming | None  # None where dataset.json cannot be understood
    descriptions: tuple[Path, ...]  # the dataset.json files
    findings: tuple[Finding, ...]  # about the data set as a whole


def take_inventory(
    inputs: Sequence[Path], *, labels: Path | None = None, dataset_json: Path | None = None
) -> Inventory:
    """What lies in data sets, folders and files; `labels` is a folder of label maps that lie elsewhere, or one file.

    Without `inputs` the label maps alone are taken. Raises InputError when an input is missing or holds no case.
    """
    parts = [part for path in inputs for part in parts_of(path)]
    descriptions = [part / DESCRIPTION for part in parts if (part / DESCRIPTION).is_file()]
    naming, findings = _naming(parts, [dataset_json] if dataset_json else descriptions, dataset_json)
    entries: list[Entry] = []
    for part in parts:
        labelled, problems = _labelled(dataset_json or part / DESCRIPTION, naming)
        findings += problems
        entries += _entries(part, labelled)
    if labels is not None:
        entries = _with_labels(entries, labels, naming)
    return Inventory(
        entries=tuple(_told_apart(sorted(entries, key=lambda entry: entry.name))),
        naming=naming,
        descriptions=tuple(descriptions),
        findings=tuple(findings),
    )


def _naming(
    parts: Sequence[Path], descriptions: Sequence[Path], dataset_json: Path | None
) -> tuple[Naming | None, list[Finding]]:
    try:
        organs = read_dataset_json(dataset_json) if dataset_json else common_labels(parts)
        return Naming(organs=organs, renumber=_renumber(descriptions, organs)), list(_unpaired(organs))
    except InputError as error:
        return None, [_broken_description(error)]


def _unpaired(organs: LabelSet) -> Iterator[Finding]:
    """A warning where organs are left and right by name and a mirrored image would still keep their labels."""
    paired = {name for pair in organs.pairs for name in pair}
    sides = [(name, name.replace("left", "right")) for name in organs.names if "left" in name]
    if missing := [[left, right] for left, right in sides if right in organs.names and left not in paired]:
        text = f'dataset.json should say which organs a mirror exchanges: "pairs": {json.dumps(missing)}.'
        yield Finding(severity=WARNING, code="pairs", text=text, file=LABEL)


def _renumber(descriptions: Sequence[Path], organs: LabelSet) -> dict[int, int]:
    """What dataset.json says under "renumber": {"OLD": NEW}. Raises InputError."""
    renumber: dict[int, int] = {}
    for file in descriptions:
        stated = json.loads(file.read_text(encoding="utf-8")).get("renumber", {})
        try:
            renumber |= {int(old): int(new) for old, new in stated.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f'has a "renumber" that cannot be read ({error})', where=file, remedy='Write {"OLD": NEW, ...}.'
            ) from error
        if wrong := [old for old, new in renumber.items() if old in (0, *organs.ids) or new not in organs.ids]:
            raise InputError(
                f'has a "renumber" of {wrong}: from an id that has a name, or to one without',
                where=file,
                remedy='Put ids that are not in "labels" before those that are.',
            )
    return renumber


def _labelled(description: Path, naming: Naming | None) -> tuple[LabelledOrgans, list[Finding]]:
    if naming is None:
        return LabelledOrgans(default=()), []
    try:
        return LabelledOrgans.read(description, naming.organs), []
    except (InputError, UsageError) as error:
        return LabelledOrgans(default=naming.organs.parse(None)), [_broken_description(error)]


def _broken_description(error: InputError | UsageError) -> Finding:
    return Finding(severity=ERROR, code="dataset-json", text=f"{error}")


def _entries(part: Path, labelled: LabelledOrgans) -> list[Entry]:
    root = part if part.is_dir() else part.parent
    if layout := layout_of(part) if part.is_dir() else None:
        return list(_paired(*layout, root, labelled))
    return [
        Entry(name=case.name, image=case.image, root=case.image.parent if case.image == part else root)
        for case in cases_of(part, labelled)
    ]


def _paired(images: Path, labels: Path, root: Path, labelled: LabelledOrgans) -> Iterator[Entry]:
    label_of = {stem(file): file for file in volumes_in(labels)} if labels.is_dir() else {}
    without: tuple[Finding, ...] = ()
    if label_of:
        without = (Finding(severity=WARNING, code="no-label", text="has no label map.", file=IMAGE),)
    for image in volumes_in(images):
        name = case_name(image)
        label = label_of.pop(name, None)
        yield Entry(
            name=name, image=image, label=label, root=root,
            labelled=labelled.of(name) if label else (), findings=() if label else without,
        )  # fmt: skip
    for name, label in label_of.items():
        yield Entry(name=name, label=label, root=root, labelled=labelled.of(name), findings=(_no_image(images),))


def _no_image(images: Path) -> Finding:
    text = f"has no image: it would be called NAME_0000.nii.gz and lie in {images.name}/."
    return Finding(severity=ERROR, code="no-image", text=text, file=LABEL)


def _with_labels(entries: Sequence[Entry], labels: Path, naming: Naming | None) -> list[Entry]:
    """The entries with label maps from elsewhere; without entries, the label maps alone."""
    if not labels.exists():
        raise InputError("does not exist", where=labels, remedy="Check the path.")
    found = {stem(file): file for file in volumes_in(labels)} if labels.is_dir() else {}
    if not labels.is_dir():
        found = {entry.name: labels for entry in entries} or {stem(labels): labels}
    covered = naming.organs.parse(None) if naming else ()
    if not entries:
        return [
            Entry(name=name, label=file, root=file.parent, labelled=covered) for name, file in sorted(found.items())
        ]
    return [
        replace(entry, label=found[entry.name], labelled=covered, findings=()) if entry.name in found else entry
        for entry in entries
    ]


def _told_apart(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries, with an error at those that share a name."""
    names = [entry.name for entry in entries]
    for entry in entries:
        if names.count(entry.name) == 1:
            yield entry
        else:
            twice = Finding(severity=ERROR, code="same-name", text="another case has the same name: rename one.")
            yield replace(entry, findings=(*entry.findings, twice))
