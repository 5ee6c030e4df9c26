"""DICOM-SEG as label maps: ids are segment numbers, on the CT's grid."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import SHAPE, describe, save, segmentation, write_series
from pydicom.uid import RLELossless

from flarekit.errors import InputError
from flarekit.volumes import read_labels, read_volume, require_same_grid

MASKS = np.zeros((5, *SHAPE[1:]), bool)  # frames, rows, columns
MASKS[0, 1, 2] = MASKS[1, 2:4, 3] = MASKS[2, 4, 5] = MASKS[3, 0, :3] = MASKS[4, 3, 3:] = True
LEVELS, NUMBERS = (0, 1, 2, 3, 0), (1, 1, 1, 2, 7)


def labels_by_hand():
    ids = np.zeros(SHAPE, int)
    for mask, level, number in zip(MASKS, LEVELS, NUMBERS, strict=True):
        ids[level][mask] = number
    return ids


def test_segments_become_ids_on_the_grid_of_the_ct(tmp_path):
    ct = read_volume(write_series(tmp_path / "ct"))
    labels = read_labels(save(segmentation(MASKS, LEVELS, NUMBERS), tmp_path / "seg.dcm"))
    assert np.array_equal(labels.array, labels_by_hand())
    require_same_grid(ct, labels)


def test_slices_without_a_frame_are_empty(tmp_path):
    seg = segmentation(MASKS[[0, 1, 2, 3]], (0, 1, 3, 3), (1, 1, 1, 2))
    labels = read_labels(save(seg, tmp_path / "seg.dcm"))
    assert [np.unique(plane).tolist() for plane in labels.array] == [[0, 1], [0, 1], [0], [0, 1, 2]]
    assert labels.spacing_mm[0] == pytest.approx(2.5)


def test_a_stated_distance_tells_of_slices_between_the_frames(tmp_path):
    seg = segmentation(MASKS[:2], (0, 2), (1, 1))
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 2.5
    labels = read_labels(save(seg, tmp_path / "seg.dcm"))
    assert [int(plane.max()) for plane in labels.array] == [1, 0, 1]


def test_a_stated_distance_that_does_not_fit_the_frames_is_passed_over(tmp_path):
    seg = segmentation(MASKS[:3], (0, 1, 2), (1, 1, 1))
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 4.1
    assert read_labels(save(seg, tmp_path / "seg.dcm")).spacing_mm[0] == pytest.approx(2.5)


def test_a_single_slice_takes_its_thickness(tmp_path):
    labels = read_labels(save(segmentation(MASKS[:1], (2,), (3,)), tmp_path / "seg.dcm"))
    assert labels.array.shape == (1, *SHAPE[1:]) and labels.spacing_mm[0] == pytest.approx(5.0)


def test_a_segmentation_of_some_slices_is_laid_on_the_whole_ct(tmp_path):
    ct = read_volume(write_series(tmp_path / "ct"))
    for level in range(SHAPE[0]):
        file = save(segmentation(MASKS[:1], (level,), (3,)), tmp_path / "seg.dcm")
        labels = read_labels(file, like=ct)
        require_same_grid(ct, labels)
        assert labels.path == file
        assert [z for z, plane in enumerate(labels.array) if plane.any()] == [level]
        assert np.array_equal(labels.array[level] == 3, MASKS[0])


@pytest.mark.parametrize("levels", [(0.5, 1.5), (-1, 0), (3, 4)])
def test_a_segmentation_off_the_ct_is_refused(tmp_path, levels):
    ct = read_volume(write_series(tmp_path / "ct"))
    file = save(segmentation(MASKS[:2], levels, (1, 1)), tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="does not lie on the image's slices"):
        read_labels(file, like=ct)


def test_segments_that_overlap_are_refused(tmp_path):
    seg = segmentation(MASKS[[0, 0]], (1, 1), (1, 2))
    with pytest.raises(InputError, match="segments that overlap: 1 and 2"):
        read_labels(save(seg, tmp_path / "seg.dcm"))


@pytest.mark.parametrize(("part", "accepted"), [(255, True), (100, False)])
def test_fractions_are_read_where_they_are_all_or_nothing(tmp_path, part, accepted):
    values = describe(MASKS.astype(np.uint8) * part)
    seg = segmentation(MASKS, LEVELS, NUMBERS, SegmentationType="FRACTIONAL", MaximumFractionalValue=255, **values)
    file = save(seg, tmp_path / "seg.dcm")
    if accepted:
        assert np.array_equal(read_labels(file).array, labels_by_hand())
    else:
        with pytest.raises(InputError, match="is a fractional segmentation"):
            read_labels(file)


def test_label_maps_in_dicom_are_read(tmp_path):
    ids = labels_by_hand().astype(np.uint8)
    seg = segmentation(ids > 0, range(4), (1, 1, 1, 1), SegmentationType="LABELMAP", **describe(ids))
    assert np.array_equal(read_labels(save(seg, tmp_path / "seg.dcm")).array, ids)


def test_frames_that_do_not_say_their_segment_are_refused(tmp_path):
    seg = segmentation(MASKS, LEVELS, NUMBERS)
    del seg.PerFrameFunctionalGroupsSequence[1].SegmentIdentificationSequence
    with pytest.raises(InputError, match="does not say which segment frame 1 shows"):
        read_labels(save(seg, tmp_path / "seg.dcm"))


def test_frames_off_the_grid_are_refused(tmp_path):
    seg = segmentation(MASKS[:3], (0, 1, 2.5), (1, 1, 1))
    with pytest.raises(InputError, match="not evenly spaced"):
        read_labels(save(seg, tmp_path / "seg.dcm"))


def test_frames_far_apart_make_no_room_for_all_between(tmp_path):
    seg = segmentation(MASKS[:3], (0, 1, 5_000_000), (1, 1, 1))
    with pytest.raises(InputError, match="not evenly spaced"):
        read_labels(save(seg, tmp_path / "seg.dcm"))


def test_compressed_bits_are_refused(tmp_path):
    seg = segmentation(MASKS, LEVELS, NUMBERS)
    seg.file_meta.TransferSyntaxUID = RLELossless
    seg.PixelData = pydicom.encaps.encapsulate([b"12"] * 5)
    seg["PixelData"].VR, seg["PixelData"].is_undefined_length = "OB", True
    with pytest.raises(InputError, match="compressed single bits"):
        read_labels(save(seg, tmp_path / "seg.dcm"))


def test_the_only_segmentation_in_a_folder_is_found(tmp_path):
    with pytest.raises(InputError, match="holds no segmentation"):
        read_labels(write_series(tmp_path))
    save(segmentation(MASKS, LEVELS, NUMBERS), tmp_path / "seg" / "one")
    assert np.array_equal(read_labels(tmp_path).array, labels_by_hand())
    shutil.copy(tmp_path / "seg" / "one", tmp_path / "seg" / "two")
    with pytest.raises(InputError, match="holds 2 segmentations: one, two"):
        read_labels(tmp_path)


def test_a_segmentation_is_no_ct(tmp_path):
    with pytest.raises(InputError, match="no CT series, only SEG"):
        read_volume(save(segmentation(MASKS, LEVELS, NUMBERS), tmp_path / "seg.dcm"))


def test_the_dcmqi_segmentation_agrees_with_pydicom_and_with_its_nrrd(shared_data):
    """pydicom reads the bits, SimpleITK the label map that dcmqi made from the same file."""
    folder = shared_data / "dcmqi_ct3slice"
    labels = read_labels(folder / "liver.dcm")
    ds = pydicom.dcmread(folder / "liver.dcm")
    frames = sorted(
        (group.PlanePositionSequence[0].ImagePositionPatient[2], index)
        for index, group in enumerate(ds.PerFrameFunctionalGroupsSequence)
    )
    assert np.array_equal(labels.array, ds.pixel_array[[index for _, index in frames]])
    nrrd = sitk.ReadImage(folder / "liver_seg.nrrd")
    assert np.array_equal(labels.array, sitk.GetArrayFromImage(nrrd))
    x, y, z = nrrd.GetOrigin()
    np.testing.assert_allclose(labels.affine @ (0, 0, 0, 1), (-x, -y, z, 1), atol=1e-4)
    require_same_grid(read_volume(folder), labels)
