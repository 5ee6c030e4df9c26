"""flarekit from Python."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from segmentation_doubles import painted_ct, painted_volume, publish_tiny

import flarekit
from flarekit.errors import InputError, OutputError, UsageError
from flarekit.volumes import read_labels, require_same_grid, write_volume


@pytest.fixture
def ct(tmp_path):
    """A CT on the disk, head first."""
    publish_tiny("ref")
    publish_tiny("prop", kind="propagation")
    array = painted_ct().array[::-1].transpose(2, 1, 0)
    path = tmp_path / "patient.nii.gz"
    nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, -4.0, 1.0])), path)
    return path


CHECKPOINTS = {"model": "ref", "propagation_model": "prop", "device": "cpu"}


def test_importing_flarekit_imports_no_library_and_takes_no_time():
    code = (
        "import sys, time; start = time.process_time(); import flarekit; taken = time.process_time() - start\n"
        "heavy = {'torch', 'numpy', 'nibabel', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert 'segment' in dir(flarekit) and taken < 0.1, taken"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_what_flarekit_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="horn"):
        flarekit.horn  # noqa: B018


def test_a_file_comes_back_as_an_array_on_its_own_axes(ct):
    result = flarekit.segment(str(ct), **CHECKPOINTS)
    image = nib.load(ct)
    assert isinstance(result, flarekit.Segmentation)
    assert result.array.shape == image.shape and np.array_equal(result.affine, image.affine)
    assert result.names == {4: "block", 9: "pea"} and set(np.unique(result.array)) <= {0, 4, 9}
    assert set(result.confidence) == set(result.volumes_ml) == {"block", "pea"}
    voxels = (result.array == 4).sum()
    assert result.volumes_ml["block"] == pytest.approx(voxels * 0.016)
    assert result.report["image_sha256"] and result.report["organs"][0]["name"] == "block"


def test_saving_writes_what_the_command_writes(ct, run_cli, tmp_path):
    result = flarekit.segment(ct, **CHECKPOINTS)
    result.save(tmp_path / "mine.nii.gz")
    outcome = run_cli(
        "segment", ct, "-o", tmp_path / "theirs.nii.gz", "--model", "ref", "--propagation-model", "prop", "--no-colours"
    )
    assert outcome.code == 0, outcome.stderr
    assert (tmp_path / "mine.nii.gz").read_bytes() == (tmp_path / "theirs.nii.gz").read_bytes()
    mine, theirs = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("mine", "theirs"))
    assert set(mine) == set(theirs)
    assert {key for key in mine if mine[key] != theirs[key]} == {"seconds", "outputs"}


def test_saving_replaces_nothing_unless_told_to(ct, tmp_path):
    result = flarekit.segment(ct, **CHECKPOINTS)
    (tmp_path / "mask.nii.gz").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        result.save(tmp_path / "mask.nii.gz")
    result.save(tmp_path / "mask.nii.gz", overwrite=True)
    with pytest.raises(OutputError, match="cannot be written too"):
        result.save(ct, overwrite=True)


def test_a_volume_in_memory_is_segmented_and_saved_as_slicers_segmentation(ct, tmp_path):
    volume = painted_ct()
    result = flarekit.segment(volume, organs=["pea"], label_map=None, statistics=True, **CHECKPOINTS)
    assert result.names == {9: "pea"} and "statistics" in result.report["organs"][0]
    result.save(tmp_path / "mask.seg.nrrd")
    require_same_grid(read_labels(tmp_path / "mask.seg.nrrd"), volume)


def test_what_is_no_ct_is_refused_unless_forced(ct, tmp_path):
    write_volume(tmp_path / "labels.nii.gz", painted_volume())
    with pytest.raises(InputError, match="label map"):
        flarekit.segment(tmp_path / "labels.nii.gz", **CHECKPOINTS)
    forced = flarekit.segment(painted_volume(), force=True, **CHECKPOINTS)
    assert any("label map" in flag for flag in forced.flags)


def test_an_unknown_organ_is_refused_before_the_image_is_read(ct):
    with pytest.raises(UsageError, match="horn"):
        flarekit.segment("absent.nii.gz", organs="horn", **CHECKPOINTS)
