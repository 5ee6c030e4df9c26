"""From a CT to its mask: library, files and command line."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from propagation_doubles import Matcher
from segmentation_doubles import (
    SHAPE,
    SPACING_MM,
    Reader,
    loaded,
    painted_classes,
    painted_ct,
    painted_volume,
    publish_tiny,
)

from flarekit.checkpoints import Loaded
from flarekit.config.propagation import PropagationConfig
from flarekit.config.reference import SamplingConfig, SecondPassConfig, SelectionConfig
from flarekit.config.segment import SegmentConfig
from flarekit.errors import OutOfMemory
from flarekit.pipeline import segment, sidecar
from flarekit.reference import ReferenceModule
from flarekit.volumes import Volume, read_labels

CONFIG = SegmentConfig(
    sampling=SamplingConfig(every=4),  # slices 1, 5, 9
    second_pass=SecondPassConfig(min_area_mm2=200.0),
    selection=SelectionConfig(slices_per_organ=1),
    propagation=PropagationConfig(top_k=1),
)


def carrier() -> Loaded:
    """A propagation checkpoint whose answers can be foreseen."""
    return loaded(Matcher(), kind="propagation", name="carrier")


def test_without_propagation_every_slice_is_the_reference_modules():
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), None, CONFIG)
    assert np.array_equal(result.classes, painted_classes())
    assert result.sampled == tuple(range(12)) and result.references == () and result.second_pass is None
    block, pea = result.organs
    assert (block.name, block.id) == ("block", 4)
    voxel_ml = np.prod(SPACING_MM) / 1000
    assert block.volume_ml == pytest.approx(8 * 400 * voxel_ml)
    assert pea.volume_ml == pytest.approx(100 * voxel_ml)
    assert block.confidence == pytest.approx(1.0, abs=1e-3)


def test_the_second_pass_finds_an_organ_between_the_sampled_slices():
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), carrier(), CONFIG)
    assert result.sampled == (1, 5, 9)
    assert result.second_pass.doubtful == ("pea",)
    assert result.second_pass.slices == (3, 7, 10)
    assert result.second_pass.found == ("pea",)
    assert 7 in result.references
    assert np.array_equal(result.classes[7], painted_classes()[7])


def test_without_a_second_pass_that_organ_is_lost():
    config = replace(CONFIG, second_pass=SecondPassConfig(max_slices=0))
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), carrier(), config)
    assert result.second_pass.doubtful == ("pea",) and result.second_pass.slices == ()
    assert result.organs[1].volume_ml == 0.0 and result.organs[1].confidence is None
    assert result.references == (5,)


def test_masks_are_carried_from_the_references_to_the_other_slices():
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), carrier(), CONFIG)
    carried = [z for z in range(3, 9) if z not in result.references]
    assert carried
    for z in carried:  # the block's pixels in the patch of 16 x 16 that lies mostly in it
        assert (result.classes[z, 8:20, 10:26] == 1).all()
    assert set(result.seconds) == {"reference", "second pass", "propagation"}


def test_a_case_without_any_organ_gives_an_empty_mask():
    blind = ReferenceModule(loaded(Reader(blind=(1, 2))))
    result = segment(painted_volume(), blind, carrier(), CONFIG)
    assert not result.classes.any() and result.references == ()
    assert all(organ.confidence is None for organ in result.organs)


def test_a_single_slice_is_segmented():
    alone = Volume.from_source(painted_volume().array[7:8].transpose(2, 1, 0), np.diag([-2.0, -2.0, 4.0, 1.0]))
    result = segment(alone, ReferenceModule(loaded(Reader())), carrier(), CONFIG)
    assert np.array_equal(result.classes, painted_classes()[7:8])
    assert result.references == (0,)


def test_the_sidecar_tells_models_references_and_settings_but_no_path(tmp_path):
    volume = painted_volume()
    reference, propagation = loaded(Reader()), carrier()
    result = segment(volume, ReferenceModule(reference), propagation, CONFIG)
    data = sidecar(result, volume, {"reference": reference.card, "propagation": propagation.card}, CONFIG)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["format"] == "flarekit-segmentation" and data["version"] == 1
    assert data["models"]["propagation"] == {"checkpoint": "carrier@1", "weights_sha256": "hash of carrier"}
    assert {"slice": 7, "mm": 28.0} in data["references"]
    assert data["settings"]["sampling"]["every"] == 4
    assert str(tmp_path) not in json.dumps(data)


def test_the_sidecar_numbers_slices_as_the_file_stores_them():
    hu = painted_volume().array
    head_first = Volume.from_source(hu[::-1].transpose(2, 1, 0), np.diag([-2.0, -2.0, -4.0, 1.0]))
    result = segment(head_first, ReferenceModule(loaded(Reader())), carrier(), CONFIG)
    data = sidecar(result, head_first, {}, CONFIG)
    assert result.sampled == (1, 5, 9) and data["sampled"] == [2, 6, 10]
    assert result.second_pass.slices == (3, 7, 10) and data["second_pass"]["slices"] == [1, 4, 8]
    assert {"slice": 4, "mm": -16.0} in data["references"]  # the pea's, canonical slice 7


@pytest.fixture
def case(tmp_path):
    """A CT on the disk, in another orientation than the canonical one, and tiny checkpoints `ref` and `prop`."""
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    hu = painted_ct().array.transpose(1, 2, 0)[::-1]
    path = tmp_path / "patient.nii.gz"
    affine = np.array([[0, -2.0, 0, 30.0], [2.0, 0, 0, -50.0], [0, 0, 4.0, 7.0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(hu, affine), path)
    return path


def arguments(case, *more):
    return ("segment", case, "--model", "ref", "--propagation-model", "prop", "--device", "cpu", *more)


def test_the_command_writes_mask_sidecar_and_preview_on_the_cases_own_grid(case, run_cli):
    target, picture = case.with_name("mask.nii.gz"), case.with_name("mask_preview.png")
    outcome = run_cli(*arguments(case, "-o", target, "--preview", "--json"))
    assert outcome.code == 0, outcome.stderr
    image, mask = nib.load(case), nib.load(target)
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8 and set(np.unique(mask.dataobj)) <= {0, 4, 9}
    report = json.loads(outcome.stdout)
    assert report == json.loads(case.with_name("mask.json").read_text())
    assert report["image"] == "patient.nii.gz" and str(case.parent) not in outcome.stdout
    assert set(report["seconds"]) == {"read", "reference", "second pass", "propagation", "write"}
    voxels = int((np.asarray(mask.dataobj) == 4).sum())
    assert report["organs"][0]["volume_ml"] == pytest.approx(voxels * 0.016, abs=1e-3)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_mask_gets_a_default_name_in_the_current_folder(case, run_cli, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    outcome = run_cli(*arguments(case, "--no-propagation"))
    assert outcome.code == 0, outcome.stderr
    assert sorted(p.name for p in here.iterdir()) == [
        "patient_seg.ctbl",
        "patient_seg.json",
        "patient_seg.nii.gz",
        "patient_seg_itksnap.txt",
    ]
    assert "block" in outcome.stdout and "mL" in outcome.stdout


@pytest.mark.parametrize("existing", ["mask.nii.gz", "mask.json", "mask_preview.png", "mask.ctbl"])
def test_nothing_is_overwritten_and_that_is_said_before_any_work(case, run_cli, existing, monkeypatch):
    def never(*_):
        raise AssertionError("work was begun")

    monkeypatch.setattr("flarekit.pipeline.reading.read_volume", never)
    case.with_name(existing).write_text("mine")
    options = ("-o", case.with_name("mask.nii.gz"), "--preview")
    outcome = run_cli(*arguments(case, *options))
    assert outcome.code == 4 and existing in outcome.stderr and "--overwrite" in outcome.stderr
    assert case.with_name(existing).read_text() == "mine"


def test_overwrite_replaces(case, run_cli):
    target = case.with_name("mask.nii.gz")
    target.write_text("old")
    outcome = run_cli(*arguments(case, "-o", target, "--no-propagation", "--overwrite"))
    assert outcome.code == 0, outcome.stderr
    assert read_labels(target).array.shape == SHAPE


def test_other_formats_can_be_asked_for(case, run_cli):
    target = case.with_name("mask.nrrd")
    assert run_cli(*arguments(case, "-o", target, "--no-propagation")).code == 0
    assert read_labels(target).array.shape == SHAPE


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--model", "nobody"), 5, "unknown checkpoint 'nobody'"),
        (("--model", "prop"), 5, "a reference one is needed"),
        (("--selection", "best"), 2, "largest-area, most-classes, most-certain"),
        (("--sample-every", "0"), 2, "--sample-every"),
        (("--device", "abacus"), 2, "abacus"),
        (("--device", "cuda:7"), 8, "cuda:7"),
        (("-o", "mask.txt"), 4, "mask.txt"),
        (("--organs", "horn"), 2, "horn"),
        (("--label-map", "flare22"), 2, "block"),
        (("--workers", "2"), 2, "folder of cases"),
    ],
)
def test_wrong_options_end_with_their_code_and_write_nothing(case, run_cli, options, code, said, monkeypatch):
    monkeypatch.chdir(case.parent)
    outcome = run_cli(*arguments(case, *options))
    assert outcome.code == code and said in outcome.stderr
    assert [p.name for p in case.parent.iterdir()] == ["patient.nii.gz"]


def test_a_missing_case_is_named(case, run_cli):
    outcome = run_cli(*arguments(case.with_name("absent.nii.gz")))
    assert outcome.code == 3 and "absent.nii.gz" in outcome.stderr and outcome.stderr.count("\n") == 1


def test_a_broken_case_leaves_nothing_behind(case, run_cli):
    case.write_bytes(case.read_bytes()[:200])
    outcome = run_cli(*arguments(case, "-o", case.with_name("mask.nii.gz")))
    assert outcome.code == 3 and "patient.nii.gz" in outcome.stderr
    assert [p.name for p in case.parent.iterdir()] == ["patient.nii.gz"]


def test_a_file_in_the_folders_place_is_found_before_any_work(case, run_cli):
    blocker = case.with_name("folder")
    blocker.write_text("not a folder")
    outcome = run_cli(*arguments(case, "-o", blocker / "mask.nii.gz"))
    assert outcome.code == 4 and "mask.nii.gz" in outcome.stderr


def test_a_full_disk_leaves_nothing_half_written(case, own_registry):
    target = case.with_name("mask.nii")
    limit = 4096

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "flarekit", *map(str, arguments(case, "-o", target, "--no-propagation"))]
    outcome = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files)
    assert outcome.returncode == 4, outcome.stderr
    assert "no space left" in outcome.stderr
    assert [p.name for p in case.parent.iterdir()] == ["patient.nii.gz"]


def test_the_ct_itself_is_never_replaced(case, run_cli):
    before = case.read_bytes()
    outcome = run_cli(*arguments(case, "-o", case, "--overwrite"))
    assert outcome.code == 4 and "is read and cannot be written too" in outcome.stderr
    assert case.read_bytes() == before


def test_a_name_that_is_too_long_does_not_exist(case, run_cli):
    outcome = run_cli(*arguments(case.with_name("n" * 300 + ".nii.gz")))
    assert outcome.code == 3 and "does not exist" in outcome.stderr


class Greedy(Matcher):
    """Runs out of memory at some of its calls."""

    def __init__(self, *failing: int) -> None:
        super().__init__()
        self.failing, self.calls = failing, 0

    def decode(self, readout, features):
        self.calls += 1
        if self.calls in self.failing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().decode(readout, features)


@pytest.mark.parametrize("memory_every", [0, 2])
def test_propagation_goes_on_in_smaller_steps_where_memory_runs_out(caplog, memory_every):
    config = replace(CONFIG, propagation=PropagationConfig(top_k=1, memory_every=memory_every))
    plain = segment(painted_volume(), ReferenceModule(loaded(Reader())), carrier(), config)
    greedy = loaded(Greedy(2, 5), kind="propagation")
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), greedy, config)
    assert np.array_equal(result.classes, plain.classes) and result.organs == plain.organs
    assert "too little memory for 4 organs at a time: on with 2" in caplog.text
    assert "on with 1" in caplog.text


def test_propagation_without_any_room_says_what_to_do():
    greedy = loaded(Greedy(*range(1, 99)), kind="propagation")
    with pytest.raises(OutOfMemory, match="--device cpu"):
        segment(painted_volume(), ReferenceModule(loaded(Reader())), greedy, CONFIG)


def test_the_certainty_of_every_slice_is_none_where_an_organ_is_not():
    result = segment(painted_volume(), ReferenceModule(loaded(Reader())), None, CONFIG)
    assert result.certainty.shape == (2, SHAPE[0])
    seen = np.stack([(painted_classes() == c).any(axis=(1, 2)) for c in (1, 2)])
    assert np.array_equal(np.isfinite(result.certainty), seen)
    assert result.certainty[seen] == pytest.approx(1.0, abs=1e-3)


def test_flips_are_asked_for_and_said(case, run_cli, monkeypatch):
    asked = []
    plain = ReferenceModule.flipping
    monkeypatch.setattr(ReferenceModule, "flipping", lambda module: asked.append(module) or plain(module))
    for options, flips in (((), False), (("--flips", "--overwrite"), True)):
        outcome = run_cli(*arguments(case, "-o", case.with_name("mask.nii.gz"), "--no-propagation", "--json", *options))
        assert outcome.code == 0, outcome.stderr
        assert len(asked) == flips and json.loads(outcome.stdout)["settings"]["flips"] is flips
