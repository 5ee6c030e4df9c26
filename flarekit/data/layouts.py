"""Finds cases: FLARE22's and nnU-Net's folders, plain folders and lists of volumes, folders of DICOM.

| layout | images | labels |
| --- | --- | --- |
| FLARE22 | images/NAME_0000.nii.gz | labels/NAME.nii.gz |
| nnU-Net | imagesTr/NAME_0000.nii.gz | labelsTr/NAME.nii.gz |
| plain | NAME.nii.gz or NAME_0000.nii.gz | none |
| DICOM | any files of one series; the folder is the case | none |

A `dataset.json` in the folder names the organs (see `flarekit.labels.read_dataset_json`), and may say with
`"labelled_organs"` which of them were labelled: a list for all cases, or {"NAME": [...]} for some.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path

from flarekit.errors import InputError, UsageError
from flarekit.labels import FLARE22, LabelSet, read_dataset_json
from flarekit.volumes.dicom import holds_dicom
from flarekit.volumes.formats import SUFFIXES, stem

_LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
_CHANNEL = "_0000"  # both layouts mark the image of a case's first, and here only, channel


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """Where a case lies."""

    name: str  # unique among the cases found
    image: Path  # the CT: a file, or a folder of DICOM
    label: Path | None = None  # its label map
    labelled: tuple[int, ...] = ()  # classes that the label map covers; empty without one


@dataclass(frozen=True, kw_only=True)
class CaseList:
    """The cases of some inputs, sorted by name, and what their labels mean."""

    cases: tuple[CaseFiles, ...]
    labels: LabelSet


def find_cases(
    inputs: Path | Sequence[Path], *, dataset_json: Path | None = None, labelled_organs: str | None = None
) -> CaseList:
    """The cases in a data set's folder, or in a list of volumes and folders.

    `dataset_json` names the organs in place of the folder's own file; `labelled_organs`, names with commas
    between, says which are labelled in every case, in place of what that file says. Raises InputError when an
    input is missing or holds no case, labels have no image, or two cases share a name; UsageError for unknown
    organs.
    """
    paths = [inputs] if isinstance(inputs, Path) else list(inputs)
    description = dataset_json or _description(paths)
    labels = read_dataset_json(description) if description else FLARE22
    if labelled_organs is None:
        labelled = LabelledOrgans.read(description, labels) if description else LabelledOrgans.all_of(labels)
    else:
        labelled = LabelledOrgans(default=labels.parse(labelled_organs))
    found = chain.from_iterable(_cases_of(path, labelled) for path in paths)
    cases = tuple(sorted(found, key=lambda case: case.name))
    _refuse_duplicates(cases)
    return CaseList(cases=cases, labels=labels)


@dataclass(frozen=True, kw_only=True)
class LabelledOrgans:
    """Which classes the label maps of a data set cover."""

    default: tuple[int, ...]  # of every case that `by_case` does not name
    by_case: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def all_of(cls, labels: LabelSet) -> LabelledOrgans:
        """Every organ in every case."""
        return cls(default=labels.parse(None))

    @classmethod
    def read(cls, dataset_json: Path, labels: LabelSet) -> LabelledOrgans:
        """What `dataset.json` says under "labelled_organs"; all of them where it says nothing. Raises InputError."""
        stated = json.loads(dataset_json.read_text(encoding="utf-8")).get("labelled_organs")
        try:
            if stated is None:
                return cls.all_of(labels)
            if isinstance(stated, list):
                return cls(default=labels.parse(",".join(stated)))
            by_case = {case: labels.parse(",".join(organs)) for case, organs in stated.items()}
            return cls(default=labels.parse(None), by_case=by_case)
        except (UsageError, TypeError, AttributeError) as error:
            raise InputError(
                f'"labelled_organs" is not a list of organs, nor one for each case ({error})',
                where=dataset_json,
                remedy='Write ["liver", ...] or {"CASE": ["liver", ...], ...}.',
            ) from error

    def of(self, case: str) -> tuple[int, ...]:
        """The classes covered in the case of this name."""
        return self.by_case.get(case, self.default)


def _description(paths: Sequence[Path]) -> Path | None:
    """The one dataset.json that lies in the inputs. Raises InputError when there are several."""
    found = [path / "dataset.json" for path in paths if (path / "dataset.json").is_file()]
    if len(found) > 1:
        raise InputError(
            "several inputs have a dataset.json",
            where=", ".join(map(str, found)),
            remedy="Preprocess them one by one, or name one of them with --dataset.",
        )
    return found[0] if found else None


def _cases_of(path: Path, labelled: LabelledOrgans) -> list[CaseFiles]:
    if not path.exists():
        raise InputError("does not exist", where=path, remedy="Check the path.")
    if not path.is_dir():
        return [CaseFiles(name=_case_name(path), image=path)]
    for images, labels in _LAYOUTS:
        if (path / images).is_dir():
            return _paired(path / images, path / labels, labelled)
    if volumes := _volumes(path):
        return [CaseFiles(name=_case_name(volume), image=volume) for volume in volumes]
    if holds_dicom(path):
        return [CaseFiles(name=path.resolve().name, image=path)]
    raise InputError(
        "holds no case",
        where=path,
        remedy=f"Give volumes ({', '.join(SUFFIXES)}), a folder of them or of DICOM, or one with images/ in it.",
    )


def _paired(images: Path, labels: Path, labelled: LabelledOrgans) -> list[CaseFiles]:
    label_of = {stem(file): file for file in _volumes(labels)} if labels.is_dir() else {}
    cases = []
    for image in _volumes(images):
        name = _case_name(image)
        label = label_of.pop(name, None)
        cases.append(CaseFiles(name=name, image=image, label=label, labelled=labelled.of(name) if label else ()))
    if not cases:
        raise InputError("holds no volume", where=images, remedy=f"Give {', '.join(SUFFIXES)}.")
    if label_of:
        raise InputError(
            f"{len(label_of)} labels have no image, the first {sorted(label_of)[0]!r}",
            where=labels,
            remedy=f"Their images are called NAME{_CHANNEL}.nii.gz and lie in {images.name}/.",
        )
    return cases


def _volumes(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir())
    return [f for f in files if f.name.lower().endswith(SUFFIXES) and not f.name.startswith(".")]


def _case_name(image: Path) -> str:
    return stem(image).removesuffix(_CHANNEL)


def _refuse_duplicates(cases: Sequence[CaseFiles]) -> None:
    for first, second in pairwise(cases):
        if first.name == second.name:
            raise InputError(
                f"two cases are called {first.name!r}",
                where=f"{first.image} and {second.image}",
                remedy="Rename one of them.",
            )
