"""Folders of DICOM: the CT that is meant, whatever the files are called and whatever lies beside them."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import HU, ORIGIN_MM, SHAPE, ct_slice, empty, enhanced_ct, save, write_series
from pydicom.uid import MediaStorageDirectoryStorage, SecondaryCaptureImageStorage

from flarekit.errors import InputError, UsageError
from flarekit.volumes import read_labels, read_volume, require_same_grid
from flarekit.volumes.dicom import files_below, holds_dicom, holds_dicom_below


def test_slices_are_sorted_by_position(tmp_path):
    volume = read_volume(write_series(tmp_path))
    assert np.array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.7, 0.8))
    np.testing.assert_allclose(volume.affine @ (0, 0, 0, 1), (20.0, 30.0, 100.0, 1.0))


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, -0.6, 0.8, 0)]
)
def test_the_grid_is_the_one_that_simpleitk_reads(tmp_path, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    places = [(np.array(ORIGIN_MM) + 2.5 * z * normal).round(6).tolist() for z in range(SHAPE[0])]
    write_series(tmp_path, ImageOrientationPatient=list(orientation), ImagePositionPatient=lambda z: places[z])
    volume = read_volume(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    for z, h, w in ((0, 0, 0), (1, 2, 3), (volume.array.shape[0] - 1, 1, 2)):
        x, y, up = (volume.affine @ (z, h, w, 1))[:3]
        i, j, k = image.TransformPhysicalPointToIndex((-x, -y, up))
        assert array[k, j, i] == volume.array[z, h, w]


def test_subfolders_are_searched_and_other_files_passed_over(tmp_path):
    write_series(tmp_path / "STUDY" / "SERIES")
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").write_bytes(b"")
    save(empty(MediaStorageDirectoryStorage), tmp_path / "DICOMDIR")
    assert np.array_equal(read_volume(tmp_path).array, HU)


def test_a_subfolder_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    write_series(tmp_path / "scan", skip=(0, 1))
    closed = write_series(tmp_path / "scan" / "more", skip=(2, 3))
    scandir = os.scandir

    def guarded(path):
        if str(path) == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    for look, folder in ((read_volume, closed.parent), (files_below, closed.parent), (holds_dicom_below, closed)):
        with pytest.raises(InputError, match="more: cannot be opened .Permission denied."):
            look(folder)


@pytest.mark.parametrize("name", ["a.dcm", "noname", "a.nii.gz", "a.nrrd", "a.mha"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"content")

    def guarded(self, *arguments):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", guarded)
    with pytest.raises(InputError, match=f"{name}: cannot be opened.*may be read"):
        read_volume(tmp_path / name)


def test_a_tilted_gantry_is_kept_in_the_affine_and_said(tmp_path, caplog):
    tilted = write_series(tmp_path, ImagePositionPatient=lambda z: [-20.0, -30.0 + 0.5 * z, 100.0 + 2.5 * z])
    volume = read_volume(tilted)
    assert np.array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.affine[:3, 0], (0.0, -0.5, 2.5))
    assert "tilted by 11.3 degrees" in caplog.text


def test_a_single_slice_takes_its_thickness_for_spacing(tmp_path, caplog):
    volume = read_volume(write_series(tmp_path / "a", skip=(0, 1, 2)))
    assert np.array_equal(volume.array, HU[3:])
    assert volume.spacing_mm[0] == pytest.approx(5.0)
    assert read_volume(write_series(tmp_path / "b", skip=(0, 1, 2), SliceThickness=None)).spacing_mm[0] == 1.0
    assert "does not say its thickness" in caplog.text


def test_a_missing_slice_is_named_by_its_position(tmp_path):
    with pytest.raises(InputError, match=r"misses 1 slices: the first at z = 102\.50 mm, between IM0001") as caught:
        read_volume(write_series(tmp_path, skip=(1,)))
    assert str(tmp_path) in str(caught.value)


def test_uneven_spacing_is_refused(tmp_path):
    heights = (100.0, 102.5, 105.0, 108.5)
    write_series(tmp_path, ImagePositionPatient=lambda z: [-20.0, -30.0, heights[z]])
    with pytest.raises(InputError, match="not evenly spaced: 3.50 mm between IM0000.dcm and IM0002.dcm, 2.50 mm"):
        read_volume(tmp_path)


def test_spacing_that_changes_little_by_little_is_refused(tmp_path):
    heights = np.cumsum([0, *[1.0] * 10, *[1.08] * 10]).round(2)  # slice 10 would lie 0.4 mm off
    for z, height in enumerate(heights):
        save(ct_slice(HU[z % 4], z, ImagePositionPatient=[0, 0, height]), tmp_path / f"{z}.dcm")
    with pytest.raises(InputError, match="not evenly spaced: 1.08 mm between"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("step_mm", "count"), [(0.625, 21), (0.75, 6), (0.85, 20)])  # two with an end rounded
def test_positions_may_be_rounded(tmp_path, step_mm, count):
    heights = (step_mm * np.arange(count)).round(1)
    for z, height in enumerate(heights):
        save(ct_slice(HU[z % 4], z, ImagePositionPatient=[0, 0, height]), tmp_path / f"{z}.dcm")
    assert read_volume(tmp_path).spacing_mm[0] == pytest.approx(step_mm, abs=0.1 / (count - 1))


def test_a_copy_of_a_slice_is_left_out_and_said(tmp_path, caplog):
    write_series(tmp_path)
    shutil.copy(tmp_path / "IM0001.dcm", tmp_path / "copy.dcm")
    assert np.array_equal(read_volume(tmp_path).array, HU)
    assert "left out 1 copies of slices" in caplog.text


def test_two_different_slices_at_one_position_are_refused(tmp_path):
    write_series(tmp_path)
    save(ct_slice(HU[0], 1, InstanceNumber=9), tmp_path / "other.dcm")
    with pytest.raises(InputError, match=r"two different slices at z = 102\.50 mm: IM0003\.dcm and other\.dcm"):
        read_volume(tmp_path)


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier", "ContentTime"])
def test_phases_of_one_series_are_told_apart(tmp_path, keyword):
    for phase, hu in ((1, HU), (2, HU[::-1] + 1)):
        write_series(tmp_path, hu=hu, prefix=f"P{phase}", **{keyword: f"10000{phase}"}, InstanceNumber=phase)
    with pytest.raises(InputError, match=r"holds 2 CT series: 3:1: .*4 slices.*100001; 3:2: .*--series 3:1"):
        read_volume(tmp_path)
    assert np.array_equal(read_volume(tmp_path, series="3:2").array, HU[::-1] + 1)
    assert np.array_equal(read_volume(tmp_path, series="1.2.3:1").array, HU)


@pytest.mark.parametrize(
    ("keyword", "value", "what"),
    [
        ("PixelSpacing", [0.7, 0.9], "pixel spacing: 0.7 x 0.8 .* and 0.7 x 0.9"),
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "orientation"),
    ],
)
def test_slices_that_differ_are_refused(tmp_path, keyword, value, what):
    write_series(tmp_path)
    save(ct_slice(HU[1], 1, **{keyword: value}), tmp_path / "IM0003.dcm")
    with pytest.raises(InputError, match=f"mixes slices of different {what}.*IM0003"):
        read_volume(tmp_path)


def test_slices_of_different_sizes_are_refused(tmp_path):
    write_series(tmp_path)
    save(ct_slice(HU[1, :4], 1), tmp_path / "IM0003.dcm")
    with pytest.raises(InputError, match=r"rows and columns: 5 x 6 \(3 slices\) and 4 x 6 \(1, such as IM0003"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "what"),
    [("ImagePositionPatient", "position"), ("ImageOrientationPatient", "orientation"), ("PixelSpacing", "spacing")],
)
def test_slices_without_a_place_are_refused(tmp_path, keyword, what):
    with pytest.raises(InputError, match=f"4 slices that do not say their .*{what}, such as IM0000.dcm"):
        read_volume(write_series(tmp_path, **{keyword: None}))


def test_directions_that_are_not_perpendicular_are_refused(tmp_path):
    with pytest.raises(InputError, match="not perpendicular"):
        read_volume(write_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))


def test_several_series_are_listed_without_patient_tags_and_chosen(tmp_path):
    write_series(tmp_path, uid="1.2.4", SeriesDescription="Abdomen", ConvolutionKernel="B30f")
    write_series(tmp_path, uid="1.2.5", hu=HU + 1, prefix="other")
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path)
    said = str(caught.value)
    assert "holds 2 CT series: 4: 'Abdomen', 4 slices of 5 x 6, 2.50 mm apart, kernel 'B30f'; 5: ''" in said
    assert "--series 4" in said and "Secret" not in said and "SECRET" not in said
    assert np.array_equal(read_volume(tmp_path, series="5").array, HU + 1)
    assert np.array_equal(read_volume(tmp_path, series="1.2.4").array, HU)
    with pytest.raises(UsageError, match="--series 6 is not among"):
        read_volume(tmp_path, series="6")


@pytest.mark.parametrize("numbers", [(7, 7), ("", 7), (None, None)])
def test_series_without_a_number_of_their_own_are_chosen_by_their_place_in_the_list(tmp_path, numbers):
    write_series(tmp_path, uid="1.2.4", SeriesNumber=numbers[0])
    write_series(tmp_path, uid="1.2.5", SeriesNumber=numbers[1], hu=HU + 1, prefix="other")
    with pytest.raises(InputError, match=r"1: .*; 2: .*--series 1"):
        read_volume(tmp_path)
    for name in ("2", "1.2.5"):
        assert np.array_equal(read_volume(tmp_path, series=name).array, HU + 1)


def test_series_whose_identity_was_taken_out_are_chosen_by_their_place(tmp_path, caplog):
    write_series(tmp_path, SeriesInstanceUID="", SeriesNumber=None)
    save(empty(MediaStorageDirectoryStorage), tmp_path / "DICOMDIR")
    write_series(tmp_path, uid="1.2.5", hu=HU + 1, prefix="other")
    assert np.array_equal(read_volume(tmp_path, series="1").array, HU)
    assert np.array_equal(read_volume(tmp_path, series="2").array, HU + 1)
    assert "left out" not in caplog.text, "files without a series are none of it"


def test_a_series_is_chosen_among_dicom_alone(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(HU), str(tmp_path / "ct.nii.gz"))
    with pytest.raises(UsageError, match="is not DICOM"):
        read_volume(tmp_path / "ct.nii.gz", series="2")


def test_scouts_localizers_and_other_objects_are_no_candidates(tmp_path, caplog):
    write_series(tmp_path)
    write_series(tmp_path, uid="1.2.4", prefix="scout", skip=(0, 1))
    write_series(tmp_path, uid="1.2.5", prefix="localizer", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path, uid="1.2.6", prefix="capture", SOPClassUID=SecondaryCaptureImageStorage)
    write_series(tmp_path, uid="1.2.7", prefix="mr", Modality="MR")
    save(ct_slice(HU[0, :3], 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "within.dcm")
    assert np.array_equal(read_volume(tmp_path).array, HU)
    assert "within.dcm: 1 files of the series are no CT images and are left out" in caplog.text


def test_a_folder_without_a_ct_is_refused(tmp_path):
    with pytest.raises(InputError, match="no CT series, only MR"):
        read_volume(write_series(tmp_path / "mr", Modality="MR"))
    with pytest.raises(InputError, match="only CT pictures that are no scan, localizers of CT"):
        write_series(tmp_path / "ct", skip=(0,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        save(ct_slice(HU[0], 0, SOPClassUID=SecondaryCaptureImageStorage), tmp_path / "ct" / "capture")
        read_volume(tmp_path / "ct")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM image"):
        read_volume(tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "note.dcm").write_text("not DICOM")
    with pytest.raises(InputError, match="no DICOM image"):
        read_volume(tmp_path / "text")


def test_a_file_cut_short_in_the_middle_of_a_series_is_named(tmp_path):
    file = write_series(tmp_path) / "IM0003.dcm"
    whole = file.read_bytes()
    for length in (len(whole) - 20, len(whole) // 2, 400):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"IM0003\.dcm: (cannot be read|is cut short|holds no)"):
            read_volume(tmp_path)


def test_a_damaged_file_of_another_series_is_no_hindrance(tmp_path):
    write_series(tmp_path)
    mr = write_series(tmp_path / "mr", uid="1.2.4", Modality="MR") / "IM0000.dcm"
    mr.write_bytes(mr.read_bytes()[:-60])
    assert np.array_equal(read_volume(tmp_path).array, HU)


def test_a_damaged_file_of_another_ct_is_no_hindrance_to_the_chosen_one(tmp_path):
    write_series(tmp_path)
    file = write_series(tmp_path / "b", uid="1.2.4") / "IM0000.dcm"
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"\x28\x00\x10\x00") + 3])  # within the element for the rows
    assert np.array_equal(read_volume(tmp_path, series="3").array, HU)
    with pytest.raises(InputError, match=r"IM0000\.dcm: cannot be read: it ends within an element"):
        read_volume(tmp_path, series="4")


def test_frames_without_a_description_each_are_refused(tmp_path):
    ds = ct_slice(HU, 0, NumberOfFrames=4)
    with pytest.raises(InputError, match="says of 1 of its 4 frames where they lie"):
        read_volume(save(ds, tmp_path / "ct.dcm"))


def test_one_slice_of_a_series_is_refused_with_a_hint_at_its_folder(tmp_path):
    write_series(tmp_path)
    shutil.copy(tmp_path / "IM0000.dcm", tmp_path / "IM9")
    for name in ("IM0000.dcm", "IM9"):
        with pytest.raises(InputError, match="is one slice of a DICOM series. Give the folder"):
            read_volume(tmp_path / name)


def test_an_enhanced_multi_frame_file_is_a_volume(tmp_path):
    volume = read_volume(save(enhanced_ct(), tmp_path / "ct.dcm"))
    assert np.array_equal(volume.array, HU + 10 * np.arange(SHAPE[0], dtype=np.int16)[:, None, None])
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.7, 0.8))


def test_frames_that_are_not_described_are_refused(tmp_path):
    short = enhanced_ct()
    del short.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(InputError, match="says of 3 of its 4 frames"):
        read_volume(save(short, tmp_path / "ct.dcm"))


def test_a_volume_that_simpleitk_wrote_as_one_dicom_file_is_read(tmp_path):
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((0.8, 0.7, 2.5))
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "ct.dcm"))
    volume = read_volume(tmp_path / "ct.dcm")
    assert np.array_equal(volume.array, HU)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.7, 0.8))


def test_dicom_is_told_by_its_first_bytes(tmp_path):
    assert holds_dicom(write_series(tmp_path / "scan"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "scan.dcm").write_text("not DICOM")
    assert not holds_dicom(tmp_path / "text")


def test_a_real_series_in_any_file_order(shared_data, tmp_path):
    """Four of its slices, since each takes long to decompress, under names that run against their positions."""
    folder = shared_data / "totalsegmentator" / "example_ct_dicom"
    slices = sorted((pydicom.dcmread(f, stop_before_pixels=True).ImagePositionPatient[2], f) for f in folder.iterdir())
    lowest = slices[:4]
    for number, (_, file) in enumerate(lowest):
        shutil.copy(file, tmp_path / f"IM{9 - number}")
    volume = read_volume(tmp_path)
    assert volume.spacing_mm[0] == pytest.approx(2.0)
    for z, (z_mm, file) in enumerate(lowest):
        assert np.array_equal(volume.array[z], sitk.GetArrayFromImage(sitk.ReadImage(file))[0])
        assert volume.z_mm(z) == pytest.approx(z_mm)


def test_the_real_series_lies_where_simpleitk_and_pydicom_say(shared_data):
    """All of it, without its pixels: what is compared is the place of the first and the last voxel."""
    folder = shared_data / "totalsegmentator" / "example_ct_dicom"
    volume = read_volume(folder)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    first, last = (pydicom.dcmread(files[k], stop_before_pixels=True) for k in (0, -1))
    assert volume.array.shape == (20, first.Rows, first.Columns)
    for z, ds in ((0, first), (19, last)):
        x, y, up = ds.ImagePositionPatient
        np.testing.assert_allclose(volume.affine @ (z, 0, 0, 1), (-x, -y, up, 1))
    image = sitk.ReadImage(files[0])
    np.testing.assert_allclose(volume.spacing_mm[1:], image.GetSpacing()[1::-1])


def test_logging_names_no_patient(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        read_volume(write_series(tmp_path, RescaleType="MGML"))
    assert "MGML" in caplog.text and "SECRET" not in caplog.text.upper()


def test_the_dcmqi_series_lies_on_the_grid_of_its_segmentations(shared_data):
    folder = shared_data / "dcmqi_ct3slice"
    ct = read_volume(folder)
    assert ct.array.shape == (3, 512, 512)
    for name in ("liver_seg.nrrd", "liver_spine_seg.nrrd"):
        labels = read_labels(folder / name)
        require_same_grid(ct, labels)
        organ = ct.array[labels.array == 1]
        assert 0 < np.median(organ) < 200, "a liver shows soft tissue"
