"""The frames of a DICOM-SEG on the slices of a CT whose positions are rounded, and on slices that are not theirs."""

from __future__ import annotations

from dataclasses import replace

import dicom_files as make
import numpy as np
import pydicom
import pytest
from dicom_seg_files import FRAME_OF_REFERENCE, write_scan
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from flarekit.errors import InputError
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid, write_labels
from flarekit.volumes.dicom.header import read_header
from flarekit.volumes.dicom.levels import levels_of
from flarekit.volumes.dicom.placing import levels_on
from flarekit.volumes.dicom.segmentation_writing import Algorithm, write_segmentation
from flarekit.volumes.dicom.slices import slices_of
from flarekit.volumes.dicom.stacking import stack
from flarekit.volumes.naming import NamedLabel

SLICES, STEP_MM = 23, 0.85  # stored to 0.1 mm, slices lie up to 0.06 of a step off an even grid
ROWS, COLUMNS = make.SHAPE[1:]
X, Y, Z = make.ORIGIN_MM
LEAN = (1.0, 0.0, 0.0, 0.0, 0.8, 0.6)  # the normal is (0, -0.6, 0.8)
HU = np.random.default_rng(5).integers(-1000, 1000, (SLICES, ROWS, COLUMNS)).astype(np.int16)
LABELS = tuple(NamedLabel(id=n, name=name, colour=(9, 9, 9)) for n, name in ((1, "liver"), (2, "spleen")))
ALGORITHM = Algorithm(maker="flarekit", version="1", name="mine", serial="5", parameters={})

GEOMETRIES = {
    "from the feet up": ((1, 0, 0, 0, 1, 0), (0, 0, 1)),
    "from the head down": ((1, 0, 0, 0, 1, 0), (0, 0, -1)),
    "feet first": ((-1, 0, 0, 0, 1, 0), (0, 0, 1)),
    "prone": ((-1, 0, 0, 0, -1, 0), (0, 0, 1)),
    "oblique": (LEAN, (0, -0.6, 0.8)),
    "tilted gantry": (LEAN, (0, 0, 1)),
    "coronal": ((1, 0, 0, 0, 0, -1), (0, 1, 0)),
}


def rounded_ct(folder, orientation=(1, 0, 0, 0, 1, 0), way=(0, 0, 1), *, step_mm=STEP_MM, decimals=1, uid="1.2.3"):
    """A series of slices `step_mm` apart on `way`, whose positions are rounded."""
    for k in range(SLICES):
        place = np.round(np.array(make.ORIGIN_MM) + k * step_mm * np.array(way), decimals).tolist()
        given = {"ImagePositionPatient": place, "ImageOrientationPatient": list(orientation)}
        slice_ = make.ct_slice(HU[k], k, uid=uid, FrameOfReferenceUID=FRAME_OF_REFERENCE, **given)
        make.save(slice_, folder / f"IM{k:04d}.dcm")
    return folder


def painted(ct: Volume, slices=(0, 1, 2, 5, 11, 12, 13, 22)) -> Volume:
    """A liver on those slices of the CT's file, and on one of them a spleen."""
    ids = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    for k in slices:
        ids[k, 1 : 3 + k % 2, 2 + k % 3] = 1
    ids[slices[0], 4, 5] = 2
    return ct.like(ct.source.reorientation.to_canonical(ids.transpose(2, 1, 0)))


def written(path, labels: Volume):
    pytest.importorskip("highdicom", reason="highdicom is not installed: flarekit[dicom]")
    write_segmentation(path, labels, LABELS, ALGORITHM)
    return path


def frames_at(heights_mm, *, names=None, **measures):
    """A DICOM-SEG of another program: segment 1 at those z, naming these images."""
    masks = np.zeros((len(heights_mm), ROWS, COLUMNS), bool)
    for n, mask in enumerate(masks):
        mask[n % ROWS, 1 + n % 4] = True
    seg = make.segmentation(masks, [0] * len(masks), [1] * len(masks))
    make.change(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], **measures)
    for group, z in zip(seg.PerFrameFunctionalGroupsSequence, heights_mm, strict=True):
        group.PlanePositionSequence[0].ImagePositionPatient = [X, Y, float(z)]
    for group, images in zip(seg.PerFrameFunctionalGroupsSequence, names or [[]] * len(masks), strict=True):
        sources = [make.change(Dataset(), ReferencedSOPInstanceUID=image) for image in images]
        derivation = make.change(Dataset(), SourceImageSequence=Sequence(sources))
        group.DerivationImageSequence = Sequence([derivation])
    return seg


@pytest.mark.parametrize(("orientation", "way"), GEOMETRIES.values(), ids=GEOMETRIES)
def test_what_is_written_on_rounded_slices_is_read_on_them(tmp_path, orientation, way):
    ct = read_volume(rounded_ct(tmp_path / "ct", orientation, way))
    labels = painted(ct)
    read = read_labels(written(tmp_path / "seg.dcm", labels), like=ct)
    require_same_grid(ct, read)
    np.testing.assert_array_equal(read.array, labels.array)


@pytest.mark.parametrize(("orientation", "way"), GEOMETRIES.values(), ids=GEOMETRIES)
def test_without_the_ct_it_is_read_on_even_slices(tmp_path, orientation, way):
    ct = read_volume(rounded_ct(tmp_path / "ct", orientation, way))
    labels = painted(ct)
    read = read_labels(written(tmp_path / "seg.dcm", labels))
    require_same_grid(ct, read)  # the frames are on the first slice, and on the last
    np.testing.assert_array_equal(read.array, labels.array)


@pytest.mark.parametrize("slices", [(3,), (2, 3), (1, 3), (2, 9, 16), (7, 8, 9, 10, 21)])
def test_a_few_of_the_rounded_slices_are_enough(tmp_path, slices):
    ct = read_volume(rounded_ct(tmp_path / "ct"))
    labels = painted(ct, slices)
    file = written(tmp_path / "seg.dcm", labels)
    np.testing.assert_array_equal(read_labels(file, like=ct).array, labels.array)
    part = read_labels(file)
    assert len(part.array) == slices[-1] - slices[0] + 1
    np.testing.assert_array_equal(part.array, labels.array[slices[0] : slices[-1] + 1])
    assert part.z_mm(0) == pytest.approx(ct.z_mm(slices[0]), abs=0.11)


def test_it_is_laid_on_the_same_ct_in_another_format(tmp_path):
    ct = read_volume(rounded_ct(tmp_path / "ct"))
    labels = painted(ct)
    write_labels(tmp_path / "ct.nii.gz", ct.like((ct.array > 0).astype(np.uint8)))
    same = read_volume(tmp_path / "ct.nii.gz")
    read = read_labels(written(tmp_path / "seg.dcm", labels), like=same)
    require_same_grid(same, read)
    np.testing.assert_array_equal(read.array, labels.array)


@pytest.mark.parametrize(("geometry", "step_mm"), [("oblique", 0.625), ("oblique", 0.7), ("tilted gantry", 0.46)])
def test_in_another_format_a_ct_may_be_rounded_as_much(tmp_path, geometry, step_mm):
    """Its even grid goes through the first slice and the last, which are rounded, too: others lie up to 0.2 beside."""
    files = sorted(rounded_ct(tmp_path / "ct", *GEOMETRIES[geometry], step_mm=step_mm).iterdir())
    frames = [slice_ for file in files for slice_ in slices_of(read_header(file))]
    converted = replace(read_volume(tmp_path / "ct"), origin=None)
    assert levels_on(frames, converted, tmp_path).of_frames.tolist() == list(range(SLICES))


def test_in_another_format_frames_follow_the_slices_as_slices_do_an_even_grid(ct, tmp_path):
    converted = replace(ct, origin=None)
    for heights, accepted in (([0, 2.3, 4, 6], True), ([0.1, 2.3, 4.1, 6], True), ([-0.3, 2, 4.3, 6], False)):
        frames = slices_of(read_header(make.save(frames_at(heights), tmp_path / "seg.dcm")))
        if accepted:
            assert levels_on(frames, converted, tmp_path).of_frames.tolist() == [0, 1, 2, 3]
        else:
            with pytest.raises(InputError, match="frame 3 is shifted against its first"):
                levels_on(frames, converted, tmp_path)


@pytest.mark.parametrize("order", [(2, 0, 3, 1), (0, 1, 2, 3)])
def test_frames_of_a_multi_frame_ct_are_named_by_their_numbers(tmp_path, order):
    enhanced = make.enhanced_ct(order=order, FrameOfReferenceUID=FRAME_OF_REFERENCE)
    for group, z in zip(enhanced.PerFrameFunctionalGroupsSequence, order, strict=True):
        group.PlanePositionSequence[0].ImagePositionPatient = [X, Y, round(Z + z * 1.25 - 0.01, 1)]
    ct = read_volume(make.save(enhanced, tmp_path / "ct.dcm"))
    labels = ct.like(np.zeros(ct.array.shape, np.uint8))
    labels.array[0, 1, 2] = labels.array[2, 3, 4] = labels.array[3, 0, :2] = 1
    file = written(tmp_path / "seg.dcm", labels)
    np.testing.assert_array_equal(read_labels(file, like=ct).array, labels.array)
    (group, *_) = (seg := pydicom.dcmread(file)).PerFrameFunctionalGroupsSequence
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = order.index(0) + 1
    with pytest.raises(InputError, match=r"such as frame 1 at z = 1.* mm, 3\.\d+ mm from the slice that it names"):
        read_labels(make.save(seg, tmp_path / "wrong.dcm"), like=ct)


@pytest.fixture
def ct(tmp_path) -> Volume:
    """Four slices at z = 0, 2, 4 and 6 mm, whose UIDs are 1.2.3.1 to 1.2.3.4."""
    return read_volume(write_scan(tmp_path / "ct", make.HU, (2.0, *make.SPACING_MM)))


def read_on(ct: Volume, seg, path) -> list[int]:
    """The slices of the CT that the segmentation shows something on."""
    read = read_labels(make.save(seg, path / "seg.dcm"), like=ct)
    require_same_grid(ct, read)
    return np.flatnonzero(read.array.any(axis=(1, 2))).tolist()


def test_frames_in_any_order_are_on_the_slices_they_name(ct, tmp_path):
    seg = frames_at([5.3, 0.2, 3.5], names=[["1.2.3.4"], ["1.2.3.1"], ["9.9", "1.2.3.3"]])
    assert read_on(ct, seg, tmp_path) == [0, 2, 3]


def test_a_frame_that_names_another_slice_than_it_lies_on_is_refused(ct, tmp_path):
    seg = frames_at([0, 2, 4], names=[["1.2.3.1"], ["1.2.3.3"], ["1.2.3.3"]])
    with pytest.raises(InputError, match=r"1 of its 3 frames .* frame 2 at z = 2.00 mm, 2.00 mm from the slice that"):
        read_on(ct, seg, tmp_path)


def test_a_frame_that_names_several_slices_is_on_the_nearest(ct, tmp_path):
    every = [f"1.2.3.{n}" for n in (1, 2, 3, 4)]
    assert read_on(ct, frames_at([2, 6], names=[every, every]), tmp_path) == [1, 3]


def test_frames_that_name_nothing_are_on_the_nearest_slices_with_a_warning(ct, tmp_path, caplog):
    assert read_on(ct, frames_at([1.1, 3.1, 5.1]), tmp_path) == [1, 2, 3]
    assert "seg.dcm: lies up to 0.90 mm beside the slices of" in caplog.text


def test_frames_on_the_slices_raise_no_warning(ct, tmp_path, caplog):
    assert read_on(ct, frames_at([2.1, 4.0, 5.9]), tmp_path) == [1, 2, 3]
    assert not caplog.records


@pytest.mark.parametrize("heights", [(-2, 0), (6, 8), (1, 3), (0, 1.5e6), (-1e300, 0)])
def test_frames_on_no_slice_are_refused_by_name(ct, tmp_path, heights):
    with pytest.raises(InputError, match="of its 2 frames are not where slices are, such as .*Give the series"):
        read_on(ct, frames_at(heights), tmp_path)


def test_a_frame_twice_is_one(ct, tmp_path):
    assert read_on(ct, frames_at([2, 2, 4]), tmp_path) == [1, 2]


def test_frames_that_are_shifted_against_each_other_are_refused(ct, tmp_path):
    seg = frames_at([0, 2, 4])
    seg.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient = [X + 0.8, Y, 4]
    with pytest.raises(InputError, match="frame 3 is shifted against its first"):
        read_on(ct, seg, tmp_path)
    for group in seg.PerFrameFunctionalGroupsSequence:  # of one slice, too, and without the CT
        group.PlanePositionSequence[0].ImagePositionPatient[2] = 4
    with pytest.raises(InputError, match="not evenly spaced"):
        read_labels(make.save(seg, tmp_path / "seg.dcm"))


OTHERS = [["7.1"], ["7.2"]]


@pytest.mark.parametrize(
    ("names", "measures", "accepted"),
    [
        ([["1.2.3.1"], ["1.2.3.3"]], {}, True),
        (None, {"SliceThickness": 2}, True),
        (None, {"SliceThickness": 5}, False),
        (None, {"SpacingBetweenSlices": 2}, True),
        (None, {"SpacingBetweenSlices": 4}, False),
        (OTHERS, {"SliceThickness": 2}, False),
        (OTHERS, {"SpacingBetweenSlices": 2}, True),
        (OTHERS, {"SpacingBetweenSlices": 4}, False),
    ],
)
def test_frames_that_leave_slices_out_may_be_those_of_thicker_ones(ct, tmp_path, names, measures, accepted):
    seg = frames_at([0, 4], names=names, **measures)
    if accepted:
        assert read_on(ct, seg, tmp_path) == [0, 2]
    else:
        with pytest.raises(InputError, match="frames are farther apart than 2.00 mm"):
            read_on(ct, seg, tmp_path)


def test_frames_of_thinner_slices_are_not_merged(ct, tmp_path):
    with pytest.raises(InputError, match="frames are nearer to each other than 2.00 mm"):
        read_on(ct, frames_at([0, 0.8, 1.6, 2.4]), tmp_path)


def test_a_segmentation_of_another_series_has_to_lie_on_the_slices(ct, tmp_path):
    assert read_on(ct, frames_at([2, 4.1], names=OTHERS), tmp_path) == [1, 2]
    with pytest.raises(InputError, match="1 of its 2 frames are not where slices are"):
        read_on(ct, frames_at([2, 4.5], names=OTHERS), tmp_path)


def test_another_reconstruction_of_the_scan_has_the_same_rounded_slices(tmp_path):
    soft, sharp = (read_volume(rounded_ct(tmp_path / uid, uid=uid)) for uid in ("1.2.3", "1.2.4"))
    labels = painted(soft)
    file = written(tmp_path / "seg.dcm", labels)
    np.testing.assert_array_equal(read_labels(file, like=sharp).array, labels.array)


def test_names_that_cannot_be_read_are_as_none(ct, tmp_path):
    seg = frames_at([2, 4], names=OTHERS)
    file = make.save(seg, tmp_path / "seg.dcm")
    item = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    data, named = bytearray(file.read_bytes()), b"\x08\x00\x55\x11UI\x04\x00" + item.ReferencedSOPInstanceUID.encode()
    data[data.index(named) + 6] = 0xFF  # its length: beyond the item, which other readers pass over
    file.write_bytes(data)
    read = read_labels(file, like=ct)
    assert np.flatnonzero(read.array.any(axis=(1, 2))).tolist() == [1, 2]


STEPS_MM = (0.3, 0.45, 0.46, 0.5, 0.625, 0.7, 0.75, 0.9, 1.25, 1.33, 1.5, 2.05, 2.5, 3.27)


@pytest.mark.parametrize("decimals", [1, 2])
@pytest.mark.parametrize("step_mm", STEPS_MM)
def test_frames_may_be_as_uneven_as_slices(tmp_path, step_mm, decimals):
    """`levels_of` takes whatever `stack` takes, a part of it too, and refuses the rest."""
    files = rounded_ct(tmp_path, step_mm=step_mm, decimals=decimals).iterdir()
    slices = [slice_ for file in sorted(files) for slice_ in slices_of(read_header(file))]
    try:
        ordered, affine = stack(slices, tmp_path)
    except InputError:
        with pytest.raises(InputError, match="not evenly spaced"):
            levels_of(slices, tmp_path)
        return
    whole = levels_of(slices[::-1], tmp_path)
    assert whole.of_frames.tolist() == list(range(SLICES))[::-1]
    np.testing.assert_allclose(whole.step_mm, affine[:3, 2] * (-1, -1, 1), atol=1e-9)
    stated = [replace(slice_, apart_mm=float(np.linalg.norm(whole.step_mm))) for slice_ in ordered]
    for k in range(SLICES - 4):
        few = [stated[k], stated[k + 1], *stated[k + 4 :: 3]]
        assert levels_of(few, tmp_path).of_frames.tolist() == [0, 1, *range(4, SLICES - k, 3)]
