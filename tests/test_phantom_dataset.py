"""Painted data sets: FLARE22's layout, resuming, the unlabelled cases' truth apart."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flarekit.config.phantom import RECIPES
from flarekit.errors import InputError, OutOfMemory, OutputError
from flarekit.files import sha256
from flarekit.labels import FLARE22, read_dataset_json
from flarekit.phantom import DatasetPlan, Part, dataset, find_maps, write_dataset
from flarekit.phantom.dataset import Painting, paintings, run_paintings
from flarekit.phantom.manifest import image_sha256
from flarekit.volumes import read_labels, read_volume

PLAN = DatasetPlan(
    recipe=RECIPES["plain"], labelled=Part(count=1), unlabelled=Part(count=1), spacing_mm=6.0, size=66, slice_mm=8.0
)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted") / "set"
    write_dataset(folder, PLAN)
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_has_flare22s_layout_and_the_truth_apart(painted: Path) -> None:
    assert files_of(painted) == {
        "dataset.json",
        "labelled/dataset.json",
        "labelled/images/labelled_0001_0000.nii.gz",
        "labelled/labels/labelled_0001.nii.gz",
        "phantom.json",
        "unlabelled-truth/unlabelled_0001.nii.gz",
        "unlabelled/dataset.json",
        "unlabelled/images/unlabelled_0001_0000.nii.gz",
    }


def test_image_and_labels_share_a_grid_and_the_manifests_hash(painted: Path) -> None:
    image = read_volume(painted / "labelled/images/labelled_0001_0000.nii.gz")
    labels = read_labels(painted / "labelled/labels/labelled_0001.nii.gz")
    assert np.array_equal(image.affine, labels.affine)
    assert set(np.unique(labels.array)) == set(range(14))
    records = json.loads((painted / "phantom.json").read_text())
    assert records["paintings"]["labelled_0001"]["image_sha256"] == image_sha256(image.array)
    assert records["plan"]["recipe_sha256"] == RECIPES["plain"].sha256()


def test_dataset_json_names_the_organs_and_their_pairs(painted: Path) -> None:
    found = read_dataset_json(painted / "labelled" / "dataset.json")
    assert (found.names, found.ids, found.pairs) == (FLARE22.names, FLARE22.ids, FLARE22.pairs)


def test_a_second_run_repaints_only_what_is_missing(painted: Path) -> None:
    kept = painted / "labelled/images/labelled_0001_0000.nii.gz"
    missing = painted / "unlabelled/images/unlabelled_0001_0000.nii.gz"
    before, stamp = sha256(missing), kept.stat().st_mtime_ns
    voxels = image_sha256(read_volume(missing).array)
    missing.unlink()
    write_dataset(painted, PLAN)
    assert kept.stat().st_mtime_ns == stamp
    assert image_sha256(read_volume(missing).array) == voxels, before


def test_more_cases_can_be_added_without_changing_the_first(painted: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, labelled=Part(count=2), unlabelled=Part())
    records = write_dataset(tmp_path / "more", plan)
    first = json.loads((painted / "phantom.json").read_text())["paintings"]["labelled_0001"]
    assert records["labelled_0001"] == first
    assert records["labelled_0002"]["image_sha256"] != first["image_sha256"]


def test_other_plans_are_refused_without_overwrite(painted: Path) -> None:
    before = files_of(painted)
    with pytest.raises(OutputError, match="another recipe"):
        write_dataset(painted, replace(PLAN, seed=1))
    assert files_of(painted) == before


def test_overwrite_replaces_a_data_set(tmp_path: Path) -> None:
    one = replace(PLAN, unlabelled=Part())
    first = write_dataset(tmp_path / "set", one)
    second = write_dataset(tmp_path / "set", replace(one, seed=1), overwrite=True)
    assert first["labelled_0001"]["image_sha256"] != second["labelled_0001"]["image_sha256"]


def test_foreign_folders_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not of a painted data set"):
        write_dataset(tmp_path, PLAN, overwrite=True)
    assert files_of(tmp_path) == {"thesis.txt"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_killed_before_its_first_painting_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    one = replace(PLAN, unlabelled=Part())
    if overwrite:
        write_dataset(tmp_path / "set", replace(one, seed=1))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "paint_one", killed)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(tmp_path / "set", one, overwrite=overwrite)
    assert write_dataset(tmp_path / "set", one).keys() == {"labelled_0001"}


def test_a_plan_that_painted_nothing_can_be_changed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("not a label map")
    with pytest.raises(InputError, match="bad"):
        write_dataset(tmp_path / "set", replace(PLAN, labelled=Part(count=1, maps=(bad,))))
    assert write_dataset(tmp_path / "set", replace(PLAN, unlabelled=Part())).keys() == {"labelled_0001"}


def test_a_file_in_the_folders_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("not a folder")
    with pytest.raises(OutputError):
        write_dataset(tmp_path / "set", PLAN)


def test_workers_paint_the_same(painted: Path, tmp_path: Path) -> None:
    records = write_dataset(tmp_path / "set", replace(PLAN, unlabelled=Part()), workers=1)
    first = json.loads((painted / "phantom.json").read_text())["paintings"]["labelled_0001"]
    assert records["labelled_0001"] == first


def test_painting_goes_on_from_a_label_map_and_names_it(painted: Path, tmp_path: Path) -> None:
    maps = find_maps([painted / "labelled" / "labels"])
    plan = replace(PLAN, labelled=Part(count=2, maps=maps), unlabelled=Part())
    records = write_dataset(tmp_path / "set", plan)
    assert {record["source"] for record in records.values()} == {"labelled_0001"}
    assert "/" not in json.dumps(json.loads((tmp_path / "set/phantom.json").read_text())["plan"]["maps"])


def test_missing_label_maps_are_input_errors(tmp_path: Path) -> None:
    for name in ("nowhere", "a" * 300):
        with pytest.raises(InputError, match="does not exist"):
            find_maps([tmp_path / name])
    with pytest.raises(InputError, match="holds no label map"):
        find_maps([tmp_path])


@pytest.mark.parametrize("wrong", [{"spacing_mm": 0.0}, {"size": 5}, {"labelled": Part(), "unlabelled": Part()}])
def test_plans_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        replace(PLAN, **wrong)


def test_a_real_label_map_is_painted(shared_data: Path, tmp_path: Path) -> None:
    maps = find_maps([shared_data / "flare22_labels" / "FLARE22_Tr_0022.nii.gz"])
    plan = replace(PLAN, labelled=Part(count=1, maps=maps), unlabelled=Part(), spacing_mm=4.0, size=100)
    assert write_dataset(tmp_path / "set", plan)["labelled_0001"]["source"] == "FLARE22_Tr_0022"


def test_the_command_paints_resumes_and_reports_as_json(run_cli, tmp_path: Path) -> None:
    arguments = ("phantom", tmp_path / "set", "--labelled", 1, "--recipe", "plain", "--spacing", 6, "--size", 66)
    first = run_cli(*arguments, "--slice-distance", 8, "--json")
    assert first.code == 0, first.stderr
    result = json.loads(first.stdout)
    assert result["recipe_sha256"] == RECIPES["plain"].sha256()
    again = run_cli(*arguments, "--slice-distance", 8, "--json")
    assert json.loads(again.stdout) == result


def test_the_command_refuses_unknown_recipes_and_nothing_to_paint(run_cli, tmp_path: Path) -> None:
    assert run_cli("phantom", tmp_path / "set", "--recipe", "oil").code == 2
    assert run_cli("phantom", tmp_path / "set", "--labelled", 0).code == 2
    assert run_cli("phantom", tmp_path / "set", "--labels", tmp_path / "nowhere").code == 3
    assert not (tmp_path / "set").exists()


def _die(painting: Painting) -> tuple[str, dict[str, Any]]:
    os._exit(1)


def test_a_worker_that_dies_is_one_clear_error() -> None:
    with pytest.raises(OutOfMemory, match="labelled_0001"):
        list(run_paintings(_die, paintings(PLAN)[:1], workers=1))
