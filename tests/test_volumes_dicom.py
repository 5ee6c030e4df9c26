"""Folders of DICOM: one CT series, whatever the files are called and whatever lies beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flarekit.errors import InputError
from flarekit.volumes import read_labels, read_volume, require_same_grid
from flarekit.volumes.dicom import holds_dicom

SHAPE = (4, 5, 6)  # slices, rows, columns
RNG = np.random.default_rng(3)
HU = RNG.integers(-1000, 1000, SHAPE).astype(np.int16)
ORDER = (2, 0, 3, 1)  # file names do not follow the positions


def write_series(folder: Path, *, uid="1.2.3", step_mm=(0.0, 0.0, 2.5), modality="CT", skip=(), prefix="IM"):
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, z in enumerate(ORDER):
        if z in skip:
            continue
        position = np.array([-20.0, -30.0, 100.0]) + z * np.array(step_mm)
        image = sitk.GetImageFromArray(HU[z : z + 1])
        image.SetSpacing((0.8, 0.7, 5.0))
        tags = {
            "0008|0060": modality,
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0008|0018": f"{uid}.{z + 1}",
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": "5",
            "0020|0013": str(number),
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{prefix}{number:04d}.dcm"))
        writer.Execute(image)
    return folder


def position_mm(file: Path) -> float:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return float(reader.GetMetaData("0020|0032").split("\\")[2])


def test_slices_are_sorted_by_position(tmp_path):
    volume = read_volume(write_series(tmp_path))
    assert np.array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.7, 0.8))
    np.testing.assert_allclose(volume.affine @ (0, 0, 0, 1), (20.0, 30.0, 100.0, 1.0))


def test_a_tilted_gantry_is_kept_in_the_affine(tmp_path):
    volume = read_volume(write_series(tmp_path, step_mm=(0.0, 0.5, 2.5)))
    assert np.array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.affine[:3, 0], (0.0, -0.5, 2.5))


def test_a_single_slice_takes_its_thickness_for_spacing(tmp_path):
    volume = read_volume(write_series(tmp_path, skip=(0, 1, 2)))
    assert np.array_equal(volume.array, HU[3:])
    assert volume.spacing_mm[0] == pytest.approx(5.0)


def test_a_missing_slice_is_refused(tmp_path):
    with pytest.raises(InputError, match="not evenly spaced") as caught:
        read_volume(write_series(tmp_path, skip=(1,)))
    assert str(tmp_path) in str(caught.value)


def test_a_slice_that_is_there_twice_is_refused(tmp_path):
    write_series(tmp_path)
    shutil.copy(tmp_path / "IM0001.dcm", tmp_path / "copy.dcm")
    with pytest.raises(InputError, match="there twice"):
        read_volume(tmp_path)


def test_slices_without_a_position_are_refused(tmp_path):
    position, unknown = b"\x20\x00\x32\x00", b"\x20\x00\x31\x00"  # tags (0020,0032) and (0020,0031)
    for file in write_series(tmp_path).iterdir():
        assert position in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(position, unknown, 1))
    with pytest.raises(InputError, match="position"):
        read_volume(tmp_path)


def test_several_series_are_named(tmp_path):
    write_series(tmp_path, uid="1.2.3")
    write_series(tmp_path, uid="1.2.4", prefix="other")
    with pytest.raises(InputError, match="2 CT series") as caught:
        read_volume(tmp_path)
    assert "1.2.3" in str(caught.value) and "1.2.4" in str(caught.value)


def test_other_modalities_are_passed_over(tmp_path):
    write_series(tmp_path, uid="1.2.3")
    write_series(tmp_path, uid="1.2.4", prefix="other", modality="MR")
    assert np.array_equal(read_volume(tmp_path).array, HU)


def test_a_folder_without_a_ct_is_refused(tmp_path):
    with pytest.raises(InputError, match="no CT series, only MR"):
        read_volume(write_series(tmp_path / "mr", modality="MR"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM image"):
        read_volume(tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "note.dcm").write_text("not DICOM")
    with pytest.raises(InputError, match="no DICOM image"):
        read_volume(tmp_path / "text")


def test_dicom_is_told_by_its_first_bytes(tmp_path):
    assert holds_dicom(write_series(tmp_path / "scan"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "scan.dcm").write_text("not DICOM")
    assert not holds_dicom(tmp_path / "text")


def test_a_real_series_in_any_file_order(shared_data, tmp_path):
    """Four of its slices, since each takes long to decompress, under names that run against their positions."""
    slices = [(position_mm(file), file) for file in (shared_data / "totalsegmentator" / "example_ct_dicom").iterdir()]
    lowest = sorted(slices)[:4]
    for number, (_, file) in enumerate(lowest):
        shutil.copy(file, tmp_path / f"IM{9 - number}")
    volume = read_volume(tmp_path)
    assert volume.spacing_mm[0] == pytest.approx(2.0)
    for z, (z_mm, file) in enumerate(lowest):
        assert np.array_equal(volume.array[z], sitk.GetArrayFromImage(sitk.ReadImage(file))[0])
        assert volume.z_mm(z) == pytest.approx(z_mm)


def test_a_real_series_lies_on_the_grid_of_its_segmentations(shared_data):
    folder = shared_data / "dcmqi_ct3slice"
    ct = read_volume(folder)
    assert ct.array.shape == (3, 512, 512)
    for name in ("liver_seg.nrrd", "liver_spine_seg.nrrd"):
        labels = read_labels(folder / name)
        require_same_grid(ct, labels)
        organ = ct.array[labels.array == 1]
        assert 0 < np.median(organ) < 200, "a liver shows soft tissue"
