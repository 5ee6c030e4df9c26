"""Outputs appear whole or not at all, for root as well."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from flarekit.errors import OutputError
from flarekit.volumes import Volume, read_volume, write_labels, write_volume
from flarekit.volumes.formats import stem
from flarekit.volumes.writing import sidecar_path

CT = Volume.from_source(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_is_replaced_only_when_asked(tmp_path, suffix):
    path = tmp_path / f"ct{suffix}"
    write_volume(path, CT)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_volume(path, CT.like(CT.array + 1))
    assert path.read_bytes() == before
    write_volume(path, CT.like(CT.array + 1), overwrite=True)
    assert np.array_equal(read_volume(path).array, CT.array + 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_the_data_type_is_kept(tmp_path, dtype):
    write_volume(tmp_path / "ct.nii.gz", CT.like(CT.array.astype(dtype)))
    header = nibabel.load(tmp_path / "ct.nii.gz").header
    assert header.get_data_dtype() == dtype
    assert header.get_xyzt_units()[0] == "mm"
    assert header["sform_code"] == header["qform_code"] == 1


@pytest.mark.parametrize(("shear", "code"), [(0.5, 0), (0.001, 1)])
def test_a_sheared_grid_is_no_qform_that_would_turn_it(tmp_path, caplog, shear, code):
    affine = np.array([[-0.8, 0, 0, 9], [0, -0.8, shear, 8], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    volume = Volume.from_source(np.arange(60_000, dtype=np.int16).reshape(30, 40, 50), affine)
    write_volume(tmp_path / "ct.nii", volume)
    assert nibabel.load(tmp_path / "ct.nii").header["qform_code"] == code
    np.testing.assert_allclose(read_volume(tmp_path / "ct.nii").affine, volume.affine, atol=1e-6)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["ct.mhd", "ct.png", "ct", "ct.gz"])
def test_an_ending_that_names_no_format_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match=name):
        write_volume(tmp_path / name, CT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_in_the_folders_place_is_reported(tmp_path, suffix):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_volume(tmp_path / "folder" / f"ct{suffix}", CT)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing_behind(tmp_path, full_disk, suffix):
    noise = np.random.default_rng(0).integers(-1000, 1000, (40, 50, 60)).astype(np.int16)
    volume = Volume.from_source(noise, np.eye(4))
    with full_disk(20_000), pytest.raises(OutputError) as caught:
        write_volume(tmp_path / f"ct{suffix}", volume)
    assert str(tmp_path / f"ct{suffix}") in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_label_maps_are_integers(tmp_path):
    with pytest.raises(ValueError, match="float32"):
        write_labels(tmp_path / "mask.nii.gz", CT.like(CT.array.astype(np.float32)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.b.NII.GZ", "a.b"), ("a.nii", "a"), ("a_0000.nrrd", "a_0000"), ("scan", "scan")],
)
def test_the_stem_goes_without_the_volumes_ending(tmp_path, name, expected):
    assert stem(tmp_path / name) == expected
    assert sidecar_path(tmp_path / name) == tmp_path / f"{expected}.json"
