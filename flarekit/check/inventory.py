"""The cases of a data set as they are, with images that have no label map and label maps that have no image."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flarekit.check.findings import ERROR, IMAGE, LABEL, WARNING, Finding
from flarekit.check.label_ids import Naming
from flarekit.check.sides import left_and_right
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
from flarekit.volumes.formats import SUFFIXES, stem

_LATER_CHANNEL = re.compile(r"_000[1-9]")  # of nnU-Net's names for images
_NO_LABEL = Finding(severity=WARNING, code="no-label", text="has no label map.", file=IMAGE)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case, or what there is of it."""

    name: str
    image: Path | None = None
    label: Path | None = None
    root: Path  # the folder whose layout a copy keeps
    labelled: tuple[int, ...] = ()  # classes that its label map covers, or would
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
    folders: tuple[Path, ...]  # what was looked through
    descriptions: tuple[tuple[Path, Path], ...]  # the dataset.json files, each with the folder a copy starts from
    findings: tuple[Finding, ...]  # about the data set as a whole


def take_inventory(
    inputs: Sequence[Path], *, labels: Path | None = None, dataset_json: Path | None = None
) -> Inventory:
    """What lies in data sets, folders and files; `labels` is a folder of label maps that lie elsewhere, or one file.

    Without `inputs` the label maps alone are taken. Raises InputError when an input is missing or holds no case.
    """
    parts = [part for path in inputs for part in parts_of(path)]
    roots = {part: _root(part, alone=len(parts) == 1) for part in parts}
    if labels is not None and not parts:
        dataset_json = dataset_json or _description_of(labels)
    naming, findings = _naming(parts, dataset_json)
    entries: list[Entry] = []
    for part, root in roots.items():
        labelled, problems = _labelled(dataset_json or part / DESCRIPTION, naming)
        own = _entries(part, root, labelled)
        findings += [*problems, *_left_out(part), *_labelled_nowhere(labelled, own)]
        entries += own
    if labels is not None:
        entries = _with_labels(entries, labels) if parts else _labels_alone(labels, dataset_json, naming)
    return Inventory(
        entries=tuple(_told_apart(sorted(entries, key=lambda entry: entry.name))),
        naming=naming,
        folders=tuple(path for path in (*inputs, labels) if path is not None and path.is_dir()),
        descriptions=tuple((file, roots[file.parent]) for file in _descriptions(parts)),
        findings=tuple(findings),
    )


def _root(part: Path, *, alone: bool) -> Path:
    """The folder that a copy's layout starts from: of several data sets each keeps its own folder."""
    return part if alone and part.is_dir() else part.parent


def _descriptions(parts: Sequence[Path]) -> list[Path]:
    return [part / DESCRIPTION for part in parts if (part / DESCRIPTION).is_file()]


def _description_of(labels: Path) -> Path | None:
    """The dataset.json beside label maps, or that of the data set whose label maps they are."""
    folder = labels if labels.is_dir() else labels.parent
    layout = layout_of(folder.absolute().parent)
    folders = [folder, folder.parent] if layout and layout[1] == folder.absolute() else [folder]
    return next(iter(_descriptions(folders)), None)


def _naming(parts: Sequence[Path], dataset_json: Path | None) -> tuple[Naming | None, list[Finding]]:
    descriptions = [dataset_json] if dataset_json else _descriptions(parts)
    try:
        organs = read_dataset_json(dataset_json) if dataset_json else common_labels(parts)
        return Naming(organs=organs, renumber=_renumber(descriptions, organs)), list(_unpaired(organs))
    except InputError as error:
        return None, [_broken_description(error)]


def _unpaired(organs: LabelSet) -> Iterator[Finding]:
    """A warning where organs are left and right by name and a mirrored image would still keep their labels."""
    paired = {name for pair in organs.pairs for name in pair}
    if missing := [[left, right] for left, right in left_and_right(organs) if left not in paired]:
        text = f'dataset.json should say which organs a mirror exchanges: "pairs": {json.dumps(missing)}.'
        yield Finding(severity=WARNING, code="pairs", text=text, file=LABEL)


def _renumber(descriptions: Sequence[Path], organs: LabelSet) -> dict[int, int]:
    """What dataset.json says under "renumber": {"OLD": NEW}. Raises InputError."""
    renumber: dict[int, int] = {}
    for file in descriptions:
        stated = json.loads(file.read_text(encoding="utf-8-sig")).get("renumber", {})
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
    return Finding(severity=ERROR, code="dataset-json", text=f"{DESCRIPTION} {error.what}. {error.remedy}")


def _entries(part: Path, root: Path, labelled: LabelledOrgans) -> list[Entry]:
    if layout := layout_of(part):
        return list(_paired(*layout, root, labelled))
    return [
        Entry(
            name=case.name, image=case.image, root=part.parent if case.image == part else root,
            labelled=labelled.of(case.name),
        )
        for case in cases_of(part, labelled)
    ]  # fmt: skip


def _left_out(part: Path) -> Iterator[Finding]:
    """A warning where a data set's images lie in folders of their own, which no command looks into."""
    if (layout := layout_of(part)) is None:
        return
    volumes = volumes_in(layout[0])
    folders = [file.name for file in sorted(layout[0].iterdir()) if file.is_dir() and file not in volumes]
    if shown := [name for name in folders if not name.startswith(".")]:
        text = f"{layout[0].name}/ holds folders, which are not looked into: {', '.join(shown[:5])}."
        yield Finding(severity=WARNING, code="folders", text=text, file=IMAGE)


def _labelled_nowhere(labelled: LabelledOrgans, entries: Sequence[Entry]) -> Iterator[Finding]:
    """A warning where "labelled_organs" speaks of cases that are not there, by another spelling maybe."""
    if missing := sorted(labelled.by_case.keys() - {entry.name for entry in entries}):
        text = f'"labelled_organs" in {DESCRIPTION} names cases that are not there: {", ".join(missing[:5])}.'
        yield Finding(severity=WARNING, code="labelled-nowhere", text=text, file=LABEL)


def _paired(images: Path, labels: Path, root: Path, labelled: LabelledOrgans) -> Iterator[Entry]:
    label_of = _label_maps(labels) if labels.is_dir() else {}
    volumes = volumes_in(images)
    if not volumes and not label_of:
        raise InputError("holds no volume", where=images, remedy=f"Give {', '.join(SUFFIXES)}.")
    without = (_NO_LABEL,) if label_of else ()
    for image in volumes:
        entry = Entry(name=case_name(image), image=image, root=root, labelled=labelled.of(case_name(image)))
        files = label_of.pop(entry.name, ())
        yield _labelled_by(entry, files) if files else replace(entry, findings=without)
    for name, files in label_of.items():
        entry = Entry(name=name, root=root, labelled=labelled.of(name), findings=(_no_image(images),))
        yield _labelled_by(entry, files)


def _label_maps(labels: Path) -> dict[str, tuple[Path, ...]]:
    """Label maps by case, all there are of each."""
    found: dict[str, tuple[Path, ...]] = {}
    for file in volumes_in(labels):
        found[stem(file)] = (*found.get(stem(file), ()), file)
    return found


def _labelled_by(entry: Entry, files: Sequence[Path]) -> Entry:
    """The entry with its label map, and an error where there are several."""
    if len(files) == 1:
        return replace(entry, label=files[0])
    text = f"has several label maps: {', '.join(file.name for file in files)}. Keep one."
    several = Finding(severity=ERROR, code="two-labels", text=text, file=LABEL)
    return replace(entry, label=files[0], findings=(*entry.findings, several))


def _no_image(images: Path) -> Finding:
    text = f"has no image: it would be called NAME_0000.nii.gz and lie in {images.name}/."
    return Finding(severity=ERROR, code="no-image", text=text, file=LABEL)


def _with_labels(entries: Sequence[Entry], labels: Path) -> list[Entry]:
    """The entries with their label maps from elsewhere. Raises InputError where none is theirs."""
    _require_there(labels)
    if not labels.is_dir():
        if len(entries) > 1:
            raise InputError(
                f"is one label map, and there are {len(entries)} cases", where=labels, remedy="Give a folder of them."
            )
        return [_labelled_by(replace(entry, findings=()), [labels]) for entry in entries]
    found = _label_maps(labels)
    if not any(entry.name in found for entry in entries):
        raise InputError("holds no label map of these cases", where=labels, remedy="They are called NAME.nii.gz.")
    plain = [replace(entry, label=None, findings=()) for entry in entries if entry.image is not None]
    return [
        _labelled_by(entry, found[entry.name]) if entry.name in found else replace(entry, findings=(_NO_LABEL,))
        for entry in plain
    ]


def _labels_alone(labels: Path, dataset_json: Path | None, naming: Naming | None) -> list[Entry]:
    """An entry for every label map, without images."""
    _require_there(labels)
    labelled, _ = _labelled(dataset_json or labels / DESCRIPTION, naming)
    files = volumes_in(labels) if labels.is_dir() else [labels]
    if not files:
        raise InputError("holds no label map", where=labels, remedy="Label maps are called NAME.nii.gz.")
    return [Entry(name=stem(file), label=file, root=file.parent, labelled=labelled.of(stem(file))) for file in files]


def _require_there(labels: Path) -> None:
    if not labels.exists():
        raise InputError("does not exist", where=labels, remedy="Check the path.")


def _told_apart(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries, with what is wrong with their names."""
    names = Counter(entry.name for entry in entries)
    for entry in entries:
        yield replace(entry, findings=(*entry.findings, *_name_findings(entry, names)))


def _name_findings(entry: Entry, names: Counter[str]) -> Iterator[Finding]:
    if names[entry.name] > 1:
        yield Finding(severity=ERROR, code="same-name", text="another case has the same name: rename one.")
    if not entry.name or entry.name.startswith("."):
        yield Finding(severity=ERROR, code="no-name", text="its file leaves it no name, or a hidden one: rename it.")
    first, channel = entry.name[:-5], entry.name[-5:]
    if _LATER_CHANNEL.fullmatch(channel) and names[first]:
        text = f"looks like another channel of {first}, and is taken for a case of its own."
        yield Finding(severity=WARNING, code="channel", text=text, file=IMAGE)
