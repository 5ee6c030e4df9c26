"""`flarekit propagate` from files to files, with a checkpoint of random weights: the flow, not the masks' quality."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny_networks
import torch

from flarekit.checkpoints import Card, Registry
from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.errors import UsageError
from flarekit.labels import FLARE22
from flarekit.models import STCN
from flarekit.propagation.slice_list import parse_slices

AFFINE = np.array([[0, 0, -3.0, 5], [0, 1.2, 0, -7], [1.0, 0, 0, 2], [0, 0, 0, 1]])  # axis codes S, A, L
SHAPE = (9, 40, 50)  # slices, rows from back to front, columns to the left


@dataclass(frozen=True)
class Files:
    """A CT, a label map drawn on two of its slices, and where to write."""

    image: Path
    drawn: Path
    output: Path
    ids: np.ndarray  # the drawn voxels


@pytest.fixture
def case(tmp_path: Path) -> Files:
    Registry.default().publish(
        Card(
            kind="propagation",
            name="tiny",
            networks={"stcn": tiny_networks.STCN},
            preprocessing=PreprocessingConfig(spacing_mm=2.0, canvas=64),
            labels=FLARE22,
        ),
        {"stcn": _network()},
    )
    rng = np.random.default_rng(0)
    hu = rng.integers(-200, 300, SHAPE).astype(np.int16)
    ids = np.zeros(SHAPE, dtype=np.uint8)
    ids[2, 5:20, 10:30] = 1
    ids[6, 8:22, 12:33] = 6
    ids[6, 30, 7] = 40
    files = Files(tmp_path / "ct.nii.gz", tmp_path / "drawn.nii.gz", tmp_path / "out.nii.gz", ids)
    nibabel.save(nibabel.Nifti1Image(hu, AFFINE), files.image)
    nibabel.save(nibabel.Nifti1Image(ids, AFFINE), files.drawn)
    return files


def _network() -> STCN:
    torch.manual_seed(0)
    return STCN(tiny_networks.STCN)


def arguments(case: Files, *more: object) -> tuple[object, ...]:
    return ("propagate", case.image, case.drawn, "-o", case.output, "--model", "tiny", "--device", "cpu", *more)


def written(case: Files) -> np.ndarray:
    return np.asarray(nibabel.load(case.output).dataobj)


def test_drawn_slices_come_out_as_they_went_in_on_the_source_grid(case: Files, run_cli) -> None:
    outcome = run_cli(*arguments(case, "--json"))
    assert outcome.code == 0, outcome.stderr
    labels = written(case)
    assert labels.shape == SHAPE and np.allclose(nibabel.load(case.output).affine, AFFINE)
    assert np.array_equal(labels[[2, 6]], case.ids[[2, 6]])
    assert set(np.unique(labels)) <= {0, 1, 6, 40}
    report = json.loads(outcome.stdout)
    assert report == json.loads((case.output.parent / "out.json").read_text())
    assert report["annotated"] == [{"slice": 2, "mm": 4.0}, {"slice": 6, "mm": 8.0}]
    assert report["filled"] == [0, 1, 3, 4, 5, 7, 8]
    assert [(o["id"], o["name"]) for o in report["organs"]] == [
        (1, "liver"),
        (6, "inferior_vena_cava"),
        (40, "label 40"),
    ]
    assert all(len(o["confidence"]) == 7 for o in report["organs"])
    assert str(case.image.parent) not in outcome.stdout


def test_an_empty_slice_that_is_named_says_nothing_is_there(case: Files, run_cli) -> None:
    assert run_cli(*arguments(case, "--slices", "0,2:7:4")).code == 0
    assert not written(case)[0].any()


def test_range_and_organs_are_kept_to(case: Files, run_cli) -> None:
    outcome = run_cli(*arguments(case, "--before", 0, "--after", 1, "--organs", "liver,40", "--json"))
    assert json.loads(outcome.stdout)["filled"] == [3, 7]
    labels = written(case)
    assert not labels[[0, 1, 4, 5, 8]].any()
    assert 6 not in labels
    assert np.array_equal(labels[2], case.ids[2])


def test_the_same_run_twice_writes_the_same_bytes(case: Files, run_cli) -> None:
    assert run_cli(*arguments(case, "--memory-every", 2)).code == 0
    first = case.output.read_bytes()
    assert run_cli(*arguments(case, "--memory-every", 2)).code == 4
    assert run_cli(*arguments(case, "--memory-every", 2, "--overwrite")).code == 0
    assert case.output.read_bytes() == first


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--slices", "2,9"), 2, "slice 9 is outside the volume. Slices are 0 (2.0 mm) to 8 (10.0 mm)."),
        (("--slices", "3"), 3, "no label on the annotated slices"),
        (("--slices", "two"), 2, "names no slices"),
        (("--organs", "tail"), 2, "unknown organ 'tail'"),
        (("--organs", ","), 2, "names no organ"),
        (("--organs", "9" * 5000), 2, "unknown organ"),
        (("--organs", "spleen"), 3, "no annotated slice with label 3"),
        (("--model", "nobody"), 5, "unknown checkpoint"),
    ],
)
def test_mistakes_end_in_one_line_and_nothing_written(
    case: Files, run_cli, more: tuple[str, ...], code: int, message: str
) -> None:
    outcome = run_cli(*arguments(case, *more))
    assert outcome.code == code
    assert message in outcome.stderr and outcome.stderr.count("\n") == 1
    assert not case.output.exists() and not case.output.with_name("out.json").exists()


def test_a_label_map_on_another_grid_is_refused(case: Files, run_cli) -> None:
    nibabel.save(nibabel.Nifti1Image(case.ids[:, :, :-1], AFFINE), case.drawn)
    outcome = run_cli(*arguments(case))
    assert outcome.code == 3 and "different shapes" in outcome.stderr
    assert not case.output.exists()


def test_an_empty_label_map_is_refused(case: Files, run_cli) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, dtype=np.uint8), AFFINE), case.drawn)
    outcome = run_cli(*arguments(case))
    assert outcome.code == 3 and "holds no label" in outcome.stderr


def test_an_output_that_cannot_be_written_is_refused_before_any_work(case: Files, run_cli) -> None:
    blocked = case.output.parent / "file"
    blocked.write_text("in the folder's place")
    outcome = run_cli(*arguments(case)[:4], blocked / "out.nii.gz", *arguments(case)[5:])
    assert outcome.code == 4 and "cannot be written" in outcome.stderr


def test_slice_lists_are_numbers_and_python_ranges() -> None:
    assert parse_slices("30, 10,20") == (10, 20, 30)
    assert parse_slices("10:40:10,5") == (5, 10, 20, 30)
    assert parse_slices("3:6") == (3, 4, 5)


@pytest.mark.parametrize("text", ["", ",", "1-3", "4:4", "1:9:0", "1:2:3:4", "-1", "9" * 5000, "0:9999999"])
def test_slice_lists_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no slices"):
        parse_slices(text)


HEAD_FIRST = AFFINE @ np.array([[-1, 0, 0, 8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # axis codes I, A, L


def test_slices_are_numbered_as_the_file_stores_them(case: Files, run_cli) -> None:
    for path in (case.image, case.drawn):
        stored = np.asarray(nibabel.load(path).dataobj)
        nibabel.save(nibabel.Nifti1Image(stored, HEAD_FIRST), path)
    outcome = run_cli(*arguments(case, "--slices", "0,6", "--after", 1, "--before", 0, "--json"))
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["annotated"] == [{"slice": 0, "mm": 10.0}, {"slice": 6, "mm": 4.0}]
    assert report["filled"] == [5]
    assert np.array_equal(written(case)[6], case.ids[6]) and not written(case)[0].any()
    refused = run_cli(*arguments(case, "--slices", "9", "--overwrite"))
    assert "slice 9 is outside the volume. Slices are 0 (10.0 mm) to 8 (2.0 mm)." in refused.stderr


def test_a_drawing_stored_in_other_axes_than_the_ct_comes_out_in_the_cts(case: Files, run_cli) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(case.ids[::-1]), HEAD_FIRST), case.drawn)
    outcome = run_cli(*arguments(case, "--slices", "2", "--json"))
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["annotated"] == [{"slice": 2, "mm": 4.0}]
    assert np.array_equal(written(case)[2], case.ids[2]) and np.allclose(nibabel.load(case.output).affine, AFFINE)


@pytest.mark.parametrize("read", ["image", "drawn"])
def test_a_file_that_is_read_is_never_replaced(case: Files, run_cli, read: str) -> None:
    target = getattr(case, read)
    before = target.read_bytes()
    outcome = run_cli(*arguments(case)[:4], target, *arguments(case)[5:], "--overwrite")
    assert outcome.code == 4 and "is read and cannot be written too" in outcome.stderr
    assert target.read_bytes() == before


def test_a_json_that_another_program_wrote_is_never_replaced(case, run_cli):
    about_the_ct = case.output.with_name("out.json")
    about_the_ct.write_text('{"Modality": "CT"}')
    outcome = run_cli(*arguments(case, "--overwrite"))
    assert outcome.code == 4 and "out.json: is there and is no JSON of flarekit's" in outcome.stderr
    assert about_the_ct.read_text() == '{"Modality": "CT"}' and not case.output.exists()


def test_a_partly_drawn_slice_is_searched_for_the_organs_it_does_not_hold(case: Files, run_cli) -> None:
    assert run_cli(*arguments(case, "--json")).code == 0
    whole = written(case)
    outcome = run_cli(*arguments(case, "--partial", "--overwrite", "--json"))
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["filled"] == list(range(9))
    assert all(organ["confidence"][2] == 1 for organ in report["organs"] if organ["id"] == 1)
    partial = written(case)
    assert not np.isin(whole[2], (6, 40)).any()
    for z, ids in ((2, (1,)), (6, (6, 40))):
        assert np.array_equal(np.isin(partial[z], ids), np.isin(case.ids[z], ids))


def test_refined_slices_count_as_filled(case: Files, run_cli) -> None:
    outcome = run_cli(*arguments(case, "--refine", "--json"))
    assert json.loads(outcome.stdout)["filled"] == list(range(9))


def test_all_slices_drawn_leave_nothing_to_fill(case: Files, run_cli) -> None:
    nibabel.save(nibabel.Nifti1Image(np.repeat(case.ids[2:3], 9, axis=0), AFFINE), case.drawn)
    outcome = run_cli(*arguments(case))
    assert outcome.code == 0, outcome.stderr
    assert np.array_equal(written(case), np.repeat(case.ids[2:3], 9, axis=0))


def test_a_budget_too_small_is_refused_in_one_line(case: Files, run_cli) -> None:
    nibabel.save(nibabel.Nifti1Image(np.repeat(case.ids[2:3], 9, axis=0), AFFINE), case.drawn)
    outcome = run_cli(*arguments(case, "--memory-budget-mb", "0"))
    assert outcome.code == 2 and not case.output.exists()


def test_dense_and_outlines_can_be_chosen(case: Files, run_cli) -> None:
    outcome = run_cli(*arguments(case, "--dense", "--no-outlines", "--json"))
    settings = json.loads(outcome.stdout)["settings"]
    assert settings["dense"] is True and settings["outlines"]["use"] is False
