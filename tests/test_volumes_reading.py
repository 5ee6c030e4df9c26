"""What reading makes of values and headers, and what it refuses: one line that names the file and the remedy."""

from __future__ import annotations

import gzip
import logging
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flarekit.errors import InputError
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid, write_volume

SHAPE = (4, 5, 6)


def ramp(dtype=np.int16) -> np.ndarray:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) - 30).astype(dtype)


def save(path, array, *, slope=None, intercept=None, affine=None):
    image = nibabel.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, path)
    return path


def refusal(path, read=read_volume) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.remedy
    return message


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, np.int8])
def test_hu_are_int16_whatever_the_file_holds(tmp_path, dtype):
    volume = read_volume(save(tmp_path / "ct.nii.gz", ramp(dtype)))
    assert volume.array.dtype == np.int16 and volume.array.flags.c_contiguous
    assert np.array_equal(volume.to_source_axes(), ramp())


@pytest.mark.parametrize("slope", [1.0, 0.5, 2.0])
def test_slope_and_intercept_are_applied(tmp_path, slope):
    volume = read_volume(save(tmp_path / "ct.nii.gz", ramp() * 2, slope=slope, intercept=-1024.0))
    assert np.array_equal(volume.to_source_axes(), ramp() * 2 * slope - 1024)
    assert volume.array.dtype == np.int16


def test_fractions_are_rounded_and_values_beyond_int16_clipped(tmp_path):
    array = ramp(np.float32) + 0.4
    array[0, 0, 0], array[0, 0, 1] = 1e6, -1e6
    volume = read_volume(save(tmp_path / "ct.nii.gz", array)).to_source_axes()
    assert (volume[0, 0, 0], volume[0, 0, 1], volume[0, 0, 2]) == (32767, -32768, -28)


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    volume = read_volume(save(tmp_path / "ct.nii.gz", ramp()[..., None]))
    assert np.array_equal(volume.to_source_axes(), ramp())


def test_a_single_slice_is_a_volume(tmp_path):
    volume = read_volume(save(tmp_path / "slice.nii.gz", ramp()[:, :, :1]))
    assert volume.array.shape == (1, 5, 4)


def test_a_file_is_unpacked_by_its_content_whatever_its_name(tmp_path):
    save(tmp_path / "a.nii", ramp())
    save(tmp_path / "b.nii.gz", ramp())
    (tmp_path / "a.nii").rename(tmp_path / "plain.nii.gz")
    (tmp_path / "b.nii.gz").rename(tmp_path / "packed.nii")
    for name in ("plain.nii.gz", "packed.nii"):
        assert np.array_equal(read_volume(tmp_path / name).to_source_axes(), ramp())


def test_a_file_is_not_shadowed_by_its_uncompressed_namesake(tmp_path):
    save(tmp_path / "ct.nii", ramp() + 5)
    save(tmp_path / "ct.nii.gz", ramp())
    assert np.array_equal(read_volume(tmp_path / "ct.nii.gz").to_source_axes(), ramp())
    assert np.array_equal(read_volume(tmp_path / "ct.nii").to_source_axes(), ramp() + 5)


def test_big_endian_files_are_read(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(ramp(), np.eye(4), header), tmp_path / "ct.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "ct.nii.gz").to_source_axes(), ramp())


def test_labels_keep_wide_ids_and_refuse_fractions(tmp_path):
    ids = ramp(np.int32) + 1000
    labels = read_labels(save(tmp_path / "labels.nii.gz", ids))
    assert labels.array.dtype == np.int32 and np.array_equal(labels.to_source_axes(), ids)
    whole = read_labels(save(tmp_path / "float.nii.gz", np.abs(ramp(np.float32))))
    assert whole.array.dtype == np.uint8 and np.array_equal(whole.to_source_axes(), np.abs(ramp()))
    message = refusal(save(tmp_path / "half.nii.gz", ramp(np.float32) / 2), read_labels)
    assert "not whole numbers" in message


def test_a_label_map_may_be_empty_of_labels(tmp_path):
    assert not read_labels(save(tmp_path / "none.nii.gz", np.zeros(SHAPE, np.uint8))).array.any()


@pytest.mark.parametrize("name", ["none.nii.gz", "none.nrrd", "nothing"])
def test_a_missing_file(tmp_path, name):
    assert "does not exist" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.nrrd", "ct.mha", "ct.mhd"])
@pytest.mark.parametrize("content", [b"", b"this is a text, not a volume\n" * 40], ids=["no byte", "text"])
def test_a_file_that_is_no_volume(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "ct.txt").write_text("no")
    assert ".nii.gz" in refusal(tmp_path / "ct.txt")


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_a_truncated_gzip(tmp_path, kept, scaled):
    array = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    path = save(tmp_path / "ct.nii.gz", array, slope=2.0 if scaled else None, intercept=1.0 if scaled else None)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    refusal(path)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_truncated_file(tmp_path, suffix):
    array = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=suffix != ".nii")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refusal(path)


def test_a_corrupted_gzip(tmp_path):
    array = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    path = save(tmp_path / "ct.nii.gz", array)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    refusal(path)


def test_four_axes_are_refused(tmp_path):
    assert "4 axes" in refusal(save(tmp_path / "series.nii.gz", np.stack([ramp()] * 2, axis=-1)))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.int16)), str(tmp_path / "series.nrrd"))
    refusal(tmp_path / "series.nrrd")


def test_vectors_are_refused(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5, 2), np.int16), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "vectors.mha"))
    assert "values a voxel" in refusal(tmp_path / "vectors.mha")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(tmp_path, bad):
    array = ramp(np.float32)
    array[1, 1, 2] = array[3, 0, 4] = bad
    message = refusal(save(tmp_path / "ct.nii.gz", array))
    assert "2 voxels" in message and "slice 2" in message


def test_a_volume_that_is_the_same_everywhere_holds_no_image(tmp_path):
    assert "holds no image" in refusal(save(tmp_path / "ct.nii.gz", np.full(SHAPE, -1024, np.int16)))


def test_an_empty_volume(tmp_path):
    path = save(tmp_path / "ct.nii", ramp())
    damaged = bytearray(path.read_bytes())
    damaged[42:44] = (0).to_bytes(2, "little")  # dim[1] of the header
    path.write_bytes(damaged)
    refusal(path)


def test_a_singular_affine(tmp_path):
    path = tmp_path / "ct.nii.gz"
    image = nibabel.Nifti1Image(ramp(), None)
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    with path.open("wb") as file:
        file.write(gzip.compress(_bytes_with_header(image)))
    assert "geometry" in refusal(path)


def test_volumes_of_other_shape_or_place_are_told_apart(tmp_path):
    a = read_volume(save(tmp_path / "a.nii.gz", ramp()))
    other_shape = read_volume(save(tmp_path / "b.nii.gz", ramp()[:, :, :4]))
    moved_affine = np.diag([1.0, 2.0, 3.0, 1.0])
    moved_affine[2, 3] = 0.5
    moved = read_volume(save(tmp_path / "c.nii.gz", ramp(), affine=moved_affine))
    nudged_affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nudged_affine[0, 3] = 1e-4
    nudged = read_volume(save(tmp_path / "d.nii.gz", ramp(), affine=nudged_affine))

    require_same_grid(a, a)
    require_same_grid(a, nudged)
    for other, reason in ((other_shape, "shapes"), (moved, "grids")):
        with pytest.raises(InputError, match=reason) as caught:
            require_same_grid(a, other)
        assert str(a.path) in str(caught.value) and str(other.path) in str(caught.value)


def test_real_cts_are_read_as_nibabel_reads_them(shared_data):
    for name in ("totalsegmentator/example_ct.nii.gz", "cptac_pda/C3L-00189_ct.nii.gz"):
        image = nibabel.load(shared_data / name)
        volume = read_volume(shared_data / name)
        assert np.array_equal(volume.to_source_axes(), np.asarray(image.dataobj))
        assert np.array_equal(volume.source.affine, image.affine)


def _bytes_with_header(image: nibabel.Nifti1Image) -> bytes:
    """The file as it is: writing through nibabel would replace the affine."""
    header = image.header.copy()
    header.set_data_offset(352)
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_labels_that_lie_canonically_in_their_file_outlive_its_reader(tmp_path, suffix):
    ids = np.random.default_rng(4).integers(0, 14, (40, 50, 60)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(ids), str(tmp_path / f"mask{suffix}"))
    labels = read_labels(tmp_path / f"mask{suffix}")
    assert labels.array.flags.owndata
    assert np.array_equal(labels.array, ids)


@pytest.mark.parametrize("dtype", [np.uint32, np.float64])
def test_label_ids_never_wrap_round(tmp_path, dtype, recwarn):
    ids = np.full((3, 4, 5), 2**31 + 1, dtype=dtype)
    nibabel.save(nibabel.Nifti1Image(ids, np.eye(4)), tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match="its values run from"):
        read_labels(tmp_path / "mask.nii.gz")
    assert not [w for w in recwarn if w.category is RuntimeWarning]


@pytest.mark.parametrize("name", ["CT.NII.GZ", "ct.Nii", "CT.MHA", "CT.NRRD", "a b ü.v1.2.nii.gz"])
def test_a_name_may_be_in_capitals_and_hold_anything(tmp_path, name):
    ct = Volume.from_source(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))
    write_volume(tmp_path / name, ct)
    assert np.array_equal(read_volume(tmp_path / name).array, ct.array)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_names_no_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_volume(tmp_path / f"{'x' * 300}.nii.gz")


def test_nifti_2_is_read(tmp_path):
    hu = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti2Image(hu, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "ct.nii")
    assert np.array_equal(read_volume(tmp_path / "ct.nii").to_source_axes(), hu)


@pytest.mark.parametrize(("unit", "in_mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
def test_lengths_are_read_in_the_unit_the_header_names(tmp_path, unit, in_mm):
    image = nibabel.Nifti1Image(
        np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([0.5, 0.75, 2.0, in_mm]) / in_mm
    )
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "ct.nii")
    assert read_volume(tmp_path / "ct.nii").spacing_mm == pytest.approx((2, 0.75, 0.5))


@pytest.mark.parametrize("spacing", [0.0, -2.0, float("nan")])
def test_a_spacing_that_is_none_is_refused_unless_the_affine_says_otherwise(tmp_path, spacing):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header["pixdim"][2] = spacing
    (tmp_path / "ct.nii").write_bytes(_bytes(image, sform_code=1))
    assert read_volume(tmp_path / "ct.nii").spacing_mm == (3, 2, 1)
    (tmp_path / "ct.nii").write_bytes(_bytes(image, sform_code=0))
    with pytest.raises(InputError, match=rf"its spacing is \[1.0, {spacing}, 3.0\]"):
        read_volume(tmp_path / "ct.nii")


def test_a_file_that_says_no_orientation_is_read_with_a_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flarekit"), "propagate", True)
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))
    (tmp_path / "ct.nii").write_bytes(_bytes(image, sform_code=0, qform_code=0))
    assert read_volume(tmp_path / "ct.nii").spacing_mm == (3, 2, 1)
    assert "ct.nii: says no orientation" in caplog.text


@pytest.mark.parametrize("field", [(108, "<f", 1e30), (108, "<f", -100.0), (42, "<hh", (-4, -5)), (70, "<h", 9999)])
def test_a_header_of_nonsense_is_one_error_and_nothing_on_stderr(tmp_path, field, capfd):
    offset, layout, values = field
    content = bytearray(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)).to_bytes())
    struct.pack_into(layout, content, offset, *np.atleast_1d(values).tolist())
    (tmp_path / "ct.nii").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        read_volume(tmp_path / "ct.nii")
    assert capfd.readouterr().err == ""


def _bytes(image, **codes):
    content = bytearray(image.to_bytes())
    for name, code in codes.items():
        struct.pack_into("<h", content, {"qform_code": 252, "sform_code": 254}[name], code)
    struct.pack_into("<8f", content, 76, *image.header["pixdim"].tolist())
    return bytes(content)
