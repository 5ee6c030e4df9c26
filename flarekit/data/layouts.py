"""Finds cases: FLARE22's and nnU-Net's folders, plain folders and lists of volumes, folders of DICOM.

| layout | images | labels |
| --- | --- | --- |
| FLARE22 | images/NAME_0000.nii.gz | labels/NAME.nii.gz |
| nnU-Net | imagesTr/NAME_0000.nii.gz | labelsTr/NAME.nii.gz |
| plain | NAME.nii.gz or NAME_0000.nii.gz | none |
| DICOM | any files of one series; the folder, or each zip or folder in it, is a case | none |

Label maps may lie elsewhere (`--labels`), called after their cases as NAME.nii.gz.

A `dataset.json` in the folder names the organs (see `flarekit.labels.read_dataset_json`), and may say with
`"labelled_organs"` which of them were labelled: a list for all cases, or {"NAME": [...]} for some. Its
`"renumber"`, {"OLD": NEW} for ids that files hold in place of others, is for `flarekit check --fix` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

from flarekit.errors import InputError, UsageError
from flarekit.files import require_existing
from flarekit.labels import DESCRIPTION, FLARE22, LabelSet, read_dataset_json
from flarekit.volumes.dicom import holds_dicom, holds_dicom_below, is_archive
from flarekit.volumes.formats import SUFFIXES, stem
from flarekit.volumes.hu import AUTO, HuOffset

PAINTED = "phantom.json"  # lies in every data set that `flarekit phantom` painted
_LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
_CHANNEL = "_0000"  # both layouts mark the image of a case's first, and here only, channel


def is_painted(image: Path) -> bool:
    """Whether an image lies where `flarekit phantom` paints them: in OUT/PART/images of a data set OUT."""
    return any((folder / PAINTED).is_file() for folder in image.absolute().parents[:3])


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """Where a case lies."""

    name: str  # unique among the cases found
    image: Path  # the CT: a file, or a folder of DICOM
    label: Path | None = None  # its label map
    labelled: tuple[int, ...] = ()  # classes that the label map covers; empty without one
    series: str | None = None  # which of a DICOM folder's series
    hu_offset: HuOffset = AUTO  # what is taken off the CT's values to make them HU


@dataclass(frozen=True, kw_only=True)
class CaseList:
    """The cases of some inputs, sorted by name, and what their labels mean."""

    cases: tuple[CaseFiles, ...]
    labels: LabelSet


def find_cases(
    inputs: Path | Sequence[Path],
    *,
    labels: Path | None = None,
    dataset_json: Path | None = None,
    labelled_organs: str | None = None,
    series: str | None = None,
    hu_offset: HuOffset = AUTO,
) -> CaseList:
    """The cases in a data set's folder, or in a list of volumes and folders.

    A folder of data sets stands for all of them. `labels` is a folder with the cases' label maps, or the one case's
    label map, in place of those beside the images. `dataset_json` names the organs in place of the data sets' own
    files; `labelled_organs`, names with commas between, says which are labelled in every case, in place of what
    those files say; `series` chooses among each case's DICOM series; `hu_offset` is taken off every CT.

    Raises InputError when an input is missing or holds no case, labels have no image, a case has two label maps or
    no name, or two cases share a name; UsageError for an unknown organ, or a list of none.
    """
    paths = [inputs] if isinstance(inputs, Path) else list(inputs)
    parts = list(chain.from_iterable(parts_of(path) for path in paths))
    organs = read_dataset_json(dataset_json) if dataset_json else common_labels(parts)
    found: list[CaseFiles] = []
    for part in parts:
        description = dataset_json or part / DESCRIPTION
        labelled = LabelledOrgans.read(description, organs, override=labelled_organs)
        own = cases_of(part, labelled)
        found += own if labels is None else _with_labels(own, labels, labelled)
    read_as = partial(replace, series=series, hu_offset=hu_offset)
    cases = tuple(sorted(map(read_as, found), key=lambda case: case.name))
    _refuse_nameless(cases)
    _refuse_duplicates(cases)
    if labels is not None:
        _refuse_unpaired(cases, labels)
    return CaseList(cases=cases, labels=organs)


@dataclass(frozen=True, kw_only=True)
class LabelledOrgans:
    """Which classes the label maps of a data set cover."""

    default: tuple[int, ...]  # of every case that `by_case` does not name
    by_case: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, dataset_json: Path, labels: LabelSet, *, override: str | None = None) -> LabelledOrgans:
        """What `dataset.json` says, all organs where it says nothing; `override` replaces it.

        Raises InputError when "labelled_organs" cannot be understood, UsageError for an unknown organ in
        `override`, which is a list of names with commas between.
        """
        if override is not None or not dataset_json.is_file():
            return cls(default=labels.parse(override))
        stated = json.loads(dataset_json.read_text(encoding="utf-8-sig")).get("labelled_organs")
        try:
            if stated is None or isinstance(stated, list):
                return cls(default=labels.parse(None if stated is None else ",".join(stated)))
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


def parts_of(path: Path) -> list[Path]:
    """The data sets in an input: itself, or the folders in it that are laid out as data sets. Raises InputError."""
    require_existing(path)
    with _looking_into(path):
        if not path.is_dir() or layout_of(path) or volumes_in(path):
            return [path]
        return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and layout_of(folder)] or [path]


def layout_of(folder: Path) -> tuple[Path, Path] | None:
    """Where a data set's folder keeps images and labels; None for a folder of another kind."""
    found = [(folder / images, folder / labels) for images, labels in _LAYOUTS if (folder / images).is_dir()]
    return found[0] if found else None


def common_labels(parts: Sequence[Path]) -> LabelSet:
    """The label set that the parts' dataset.json files agree on; FLARE22's without any. Raises InputError."""
    files = [part / DESCRIPTION for part in parts if (part / DESCRIPTION).is_file()]
    sets = [read_dataset_json(file) for file in files]
    for file, labels in zip(files[1:], sets[1:], strict=True):
        if not labels.same_organs(sets[0]) or labels.ignore_id != sets[0].ignore_id:
            raise InputError(
                "names other organs, or another ignore label",
                where=f"{file} and {files[0]}",
                remedy="Keep data sets with different organs in different stores.",
            )
    return sets[0] if sets else FLARE22


def cases_of(path: Path, labelled: LabelledOrgans) -> list[CaseFiles]:
    """The cases of one data set, folder or file. Raises InputError when it holds none, or they cannot be paired."""
    if not path.is_dir():
        return [CaseFiles(name=case_name(path), image=path)]
    if layout := layout_of(path):
        return _paired(*layout, labelled)
    volumes = volumes_in(path)
    dicom = holds_dicom(path, besides=set(volumes))  # a volume that cannot be opened is for its own case to say
    if volumes and dicom:
        raise InputError(
            "holds volumes as well as DICOM",
            where=path,
            remedy="Name the volumes one by one, or move the DICOM series to a folder of its own.",
        )
    if volumes:
        return [CaseFiles(name=case_name(volume), image=volume) for volume in volumes]
    if dicom:
        return [CaseFiles(name=path.resolve().name, image=path)]
    if scans := _scans_in(path):
        return [CaseFiles(name=case_name(scan), image=scan) for scan in scans]
    raise InputError(
        "holds no case",
        where=path,
        remedy=f"Give volumes ({', '.join(SUFFIXES)}), a folder of them or of DICOM, or one with images/ in it.",
    )


def _scans_in(folder: Path) -> list[Path]:
    """The folders that hold DICOM at any depth, and the zips: one case each."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [path for path in visible if is_archive(path) or (path.is_dir() and holds_dicom_below(path))]


def _paired(images: Path, labels: Path, labelled: LabelledOrgans) -> list[CaseFiles]:
    label_of = label_maps(labels) if labels.is_dir() else {}
    cases = []
    for image in volumes_in(images):
        name = case_name(image)
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


def _with_labels(cases: Sequence[CaseFiles], labels: Path, labelled: LabelledOrgans) -> list[CaseFiles]:
    """The cases with label maps from a folder, by name, or from the one file that is given. Raises InputError."""
    require_existing(labels)
    label_of = label_maps(labels) if labels.is_dir() else dict.fromkeys((case.name for case in cases), labels)
    return [
        replace(case, label=label_of.get(case.name), labelled=labelled.of(case.name) if case.name in label_of else ())
        for case in cases
    ]


def _refuse_unpaired(cases: Sequence[CaseFiles], labels: Path) -> None:
    """Raises InputError where `--labels` names no label map of any case, or one for several."""
    if not labels.is_dir() and len(cases) > 1:
        raise InputError(
            f"is one label map, and there are {len(cases)} cases",
            where=labels,
            remedy="Give a folder of label maps that are called after their cases.",
        )
    if not any(case.label for case in cases):
        raise InputError(
            f"holds no label map for any of the {len(cases)} cases, the first {cases[0].name!r}",
            where=labels,
            remedy="Label maps are called NAME.nii.gz after their cases.",
        )


def label_maps(folder: Path) -> dict[str, Path]:
    """The folder's label maps by the case they are called after. Raises InputError where two are of one case."""
    found: dict[str, Path] = {}
    for file in volumes_in(folder):
        if (other := found.setdefault(stem(file), file)) != file:
            raise InputError(
                f"two label maps for the case {stem(file)!r}", where=f"{other} and {file}", remedy="Keep one of them."
            )
    return found


def volumes_in(folder: Path) -> list[Path]:
    """The folder's volume files by their endings, sorted; hidden ones are left out. Raises InputError."""
    with _looking_into(folder):
        files = sorted(folder.iterdir())
    return [f for f in files if f.name.lower().endswith(SUFFIXES) and not f.name.startswith(".")]


@contextmanager
def _looking_into(folder: Path) -> Iterator[None]:
    """Turns the operating system's refusals to list a folder into InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("does not exist", where=error.filename or folder, remedy="Check the path.") from error
    except OSError as error:
        raise InputError(
            f"cannot be looked into ({error.strerror})",
            where=error.filename or folder,
            remedy="Check that you may read it.",
        ) from error


def case_name(image: Path) -> str:
    """What a case with this image is called."""
    return stem(image).removesuffix(_CHANNEL)


def _refuse_nameless(cases: Sequence[CaseFiles]) -> None:
    for case in cases:
        if not case.name or case.name.startswith("."):
            raise InputError(
                "leaves its case no name, or a hidden one", where=case.image, remedy="Rename it, to NAME.nii.gz say."
            )


def _refuse_duplicates(cases: Sequence[CaseFiles]) -> None:
    for first, second in pairwise(cases):
        if first.name == second.name:
            raise InputError(
                f"two cases are called {first.name!r}",
                where=f"{first.image} and {second.image}",
                remedy="Rename one of them.",
            )
