"""Which cases are found where; the files need not be volumes for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flarekit.data.layouts import CaseFiles, find_cases, volumes_in
from flarekit.errors import InputError, UsageError
from flarekit.labels import FLARE22

ALL = tuple(range(1, 14))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def describe(folder: Path, **entries: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    labels = {"background": 0, "liver": 1, "left lung": 5, "right lung": 9}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, **entries}))
    return folder / "dataset.json"


def flare22(folder: Path) -> None:
    touch(folder / "images" / "FLARE22_Tr_0002_0000.nii.gz", folder / "images" / "FLARE22_Tr_0001_0000.nii.gz")
    touch(folder / "labels" / "FLARE22_Tr_0001.nii.gz")


def test_flare22_layout(tmp_path):
    flare22(tmp_path)
    found = find_cases(tmp_path)
    assert found.labels == FLARE22
    assert found.cases == (
        CaseFiles(
            name="FLARE22_Tr_0001",
            image=tmp_path / "images" / "FLARE22_Tr_0001_0000.nii.gz",
            label=tmp_path / "labels" / "FLARE22_Tr_0001.nii.gz",
            labelled=ALL,
        ),
        CaseFiles(name="FLARE22_Tr_0002", image=tmp_path / "images" / "FLARE22_Tr_0002_0000.nii.gz"),
    )


def test_nnunet_layout_with_its_own_organs(tmp_path):
    touch(tmp_path / "imagesTr" / "a_0000.nii.gz", tmp_path / "labelsTr" / "a.nii.gz")
    describe(tmp_path, pairs=[["left lung", "right lung"]])
    found = find_cases(tmp_path)
    assert found.labels.names == ("liver", "left lung", "right lung") and found.labels.ids == (1, 5, 9)
    assert found.labels.pairs == (("left lung", "right lung"),)
    assert [case.labelled for case in found.cases] == [(1, 2, 3)]


def test_plain_folder_and_list_of_files(tmp_path):
    touch(tmp_path / "b.nrrd", tmp_path / "a_0000.nii.gz", tmp_path / "notes.txt", tmp_path / ".hidden.nii.gz")
    assert [case.name for case in find_cases(tmp_path).cases] == ["a", "b"]
    assert [case.name for case in find_cases([tmp_path / "b.nrrd"]).cases] == ["b"]
    assert all(case.label is None for case in find_cases(tmp_path).cases)


def test_a_folder_of_dicom_is_one_case(tmp_path):
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert find_cases(tmp_path / "scan").cases == (CaseFiles(name="scan", image=tmp_path / "scan"),)


def test_a_folder_of_data_sets_stands_for_all_of_them(tmp_path):
    touch(tmp_path / "labelled" / "images" / "a_0000.nii.gz", tmp_path / "labelled" / "labels" / "a.nii.gz")
    touch(tmp_path / "unlabelled" / "images" / "b_0000.nii.gz", tmp_path / "truth" / "b.nii.gz")
    describe(tmp_path / "labelled")
    describe(tmp_path / "unlabelled")
    found = find_cases(tmp_path)
    assert [(case.name, case.label is not None) for case in found.cases] == [("a", True), ("b", False)]


def test_labels_may_lie_elsewhere(tmp_path):
    touch(*(tmp_path / "scans" / f"{name}.nii.gz" for name in ("a_0000", "b")))
    touch(*(tmp_path / "masks" / f"{name}.nrrd" for name in ("a", "z")))
    found = find_cases([tmp_path / "scans"], labels=tmp_path / "masks", labelled_organs="spleen")
    assert [(case.name, case.label, case.labelled) for case in found.cases] == [
        ("a", tmp_path / "masks" / "a.nrrd", (3,)),
        ("b", None, ()),
    ]


def test_a_series_of_dicom_and_its_label_map(tmp_path):
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "IM0001").write_bytes(bytes(128) + b"DICM")
    touch(tmp_path / "mask.nii.gz")
    (case,) = find_cases(tmp_path / "scan", labels=tmp_path / "mask.nii.gz").cases
    assert (case.name, case.label, case.labelled) == ("scan", tmp_path / "mask.nii.gz", ALL)


def test_labels_elsewhere_that_fit_no_case_are_named(tmp_path):
    touch(*(tmp_path / "scans" / f"{name}.nii.gz" for name in "ab"), tmp_path / "masks" / "z.nii.gz")
    with pytest.raises(InputError, match="no label map for any of the 2 cases, the first 'a'"):
        find_cases(tmp_path / "scans", labels=tmp_path / "masks")
    with pytest.raises(InputError, match="one label map, and there are 2 cases"):
        find_cases([tmp_path / "scans" / f"{name}.nii.gz" for name in "ab"], labels=tmp_path / "masks" / "z.nii.gz")
    with pytest.raises(InputError, match="does not exist"):
        find_cases(tmp_path / "scans", labels=tmp_path / "none")


def test_data_sets_with_another_ignore_label_do_not_mix(tmp_path):
    for number, folder in enumerate(("one", "two"), start=8):
        touch(tmp_path / folder / "images" / f"{folder}_0000.nii.gz")
        describe(tmp_path / folder, labels={"background": 0, "heart": 1, "ignore": number})
    with pytest.raises(InputError, match="another ignore label"):
        find_cases(tmp_path)


def test_data_sets_with_different_organs_do_not_mix(tmp_path):
    flare22(tmp_path / "one")
    touch(tmp_path / "two" / "images" / "b_0000.nii.gz")
    describe(tmp_path / "one")
    describe(tmp_path / "two", labels={"background": 0, "heart": 1})
    with pytest.raises(InputError, match="other organs"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, [(1, 2, 3), (1, 2, 3)]),
        (["left lung"], [(2,), (2,)]),
        ({"a": ["right lung", "Liver"]}, [(1, 3), (1, 2, 3)]),
    ],
)
def test_dataset_json_says_which_organs_are_labelled(tmp_path, stated, expected):
    for name in ("a", "b"):
        touch(tmp_path / "images" / f"{name}_0000.nii.gz", tmp_path / "labels" / f"{name}.nii.gz")
    describe(tmp_path, **({} if stated is None else {"labelled_organs": stated}))
    assert [case.labelled for case in find_cases(tmp_path).cases] == expected
    assert [case.labelled for case in find_cases(tmp_path, labelled_organs="liver").cases] == [(1,), (1,)]


def test_a_case_without_labels_covers_no_organ(tmp_path):
    flare22(tmp_path)
    assert [case.labelled for case in find_cases(tmp_path, labelled_organs="liver,spleen").cases] == [(1, 3), ()]


def test_a_description_may_lie_elsewhere(tmp_path):
    touch(tmp_path / "a.nii.gz")
    description = describe(tmp_path / "elsewhere")
    assert find_cases(tmp_path / "a.nii.gz", dataset_json=description).labels.ids == (1, 5, 9)


def test_unknown_organs_are_named(tmp_path):
    flare22(tmp_path)
    with pytest.raises(UsageError, match="spleeen"):
        find_cases(tmp_path, labelled_organs="liver,spleeen")
    describe(tmp_path, labelled_organs=["spleeen"])
    with pytest.raises(InputError, match="spleeen") as caught:
        find_cases(tmp_path)
    assert str(tmp_path / "dataset.json") in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", '{"labels": 3}', '{"labels": {"liver": "one"}}'])
def test_a_broken_description_is_named(tmp_path, content):
    flare22(tmp_path)
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match="dataset.json"):
        find_cases(tmp_path)


def test_what_cannot_be_a_data_set(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_cases(tmp_path / "none")
    with pytest.raises(InputError, match="holds no case"):
        find_cases(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="holds no volume"):
        find_cases(tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="images: cannot be looked into"):
        find_cases(tmp_path)


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match=r"masks: does not exist\. Check the path\."):
        volumes_in(tmp_path / "masks")


def test_labels_without_images_are_refused(tmp_path):
    flare22(tmp_path)
    touch(tmp_path / "labels" / "FLARE22_Tr_0009.nii.gz")
    with pytest.raises(InputError, match="FLARE22_Tr_0009"):
        find_cases(tmp_path)


def test_two_cases_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "x" / "a.nii.gz", tmp_path / "y" / "a.nrrd")
    with pytest.raises(InputError, match="'a'"):
        find_cases([tmp_path / "x", tmp_path / "y"])


def test_two_label_maps_for_one_case_are_refused(tmp_path):
    touch(*(tmp_path / "images" / f"{name}_0000.nii.gz" for name in "ab"))
    touch(tmp_path / "labels" / "a.nii.gz", tmp_path / "labels" / "b.nii.gz", tmp_path / "labels" / "a.nrrd")
    with pytest.raises(InputError, match=r"two label maps for the case 'a'") as caught:
        find_cases(tmp_path)
    assert "a.nii.gz" in str(caught.value) and "a.nrrd" in str(caught.value)


@pytest.mark.parametrize("name", ["_0000.nii.gz", ".nii.gz", ".hidden.nii.gz"])
def test_a_case_needs_a_name_that_is_not_hidden(tmp_path, name):
    touch(tmp_path / name)
    with pytest.raises(InputError, match="no name, or a hidden one"):
        find_cases(tmp_path / name)


def test_a_name_that_is_too_long_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_cases(tmp_path / ("n" * 300 + ".nii.gz"))


@pytest.mark.parametrize("organs", ["", " , "])
def test_a_list_of_no_organ_is_refused(tmp_path, organs):
    flare22(tmp_path)
    with pytest.raises(UsageError, match="names no organ"):
        find_cases(tmp_path, labelled_organs=organs)
    describe(tmp_path, labelled_organs=[])
    with pytest.raises(InputError, match="names no organ"):
        find_cases(tmp_path)


def test_volumes_beside_dicom_are_ambiguous(tmp_path):
    touch(tmp_path / "mask.nrrd")
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match="as well as DICOM"):
        find_cases(tmp_path)
