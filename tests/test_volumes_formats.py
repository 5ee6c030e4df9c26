"""What each format can say about type, place and order of its voxels, read as SimpleITK and nibabel read it."""

from __future__ import annotations

import gzip
import logging
import os
import re
import struct
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flarekit.errors import InputError
from flarekit.volumes import read_labels, read_volume

SHAPE = (4, 5, 6)
HU = (np.arange(np.prod(SHAPE)).reshape(SHAPE, order="F") - 30).astype(np.int16)  # (I, J, K)
RAW = HU.tobytes(order="F")

NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "space dimension": None,
    "sizes": "4 5 6", "space directions": "(0.8,0,0) (0,0.6,0.8) (0,-1.6,1.2)", "endian": "little", "encoding": "raw",
    "space origin": "(10,-20,30.5)",
}  # fmt: skip
META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 0.6 0.8 0 -0.8 0.6", "Offset": "10 -20 30.5",
    "ElementSpacing": "0.8 1 2", "DimSize": "4 5 6", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flarekit"), "propagate", True)
    return caplog


def text(fields, separator) -> bytes:
    return "".join(f"{name}{separator}{value}\n" for name, value in fields.items() if value is not None).encode()


def nrrd(path, voxels=RAW, **fields):
    """A .nrrd file; `fields` (data_file for "data file") replace those of NRRD, None leaves one out."""
    named = NRRD | {name.replace("_", " "): value for name, value in fields.items()}
    path.write_bytes(b"NRRD0004\n# a comment: with a colon\n" + text(named, ": ") + b"key:=value\n\n" + voxels)
    return path


def meta(path, voxels=RAW, **fields):
    last = META | fields
    last["ElementDataFile"] = last.pop("ElementDataFile")
    path.write_bytes(text(last, " = ") + voxels)
    return path


def refusal(path, read=read_volume) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value) and caught.value.remedy
    return str(caught.value)


def itk_affine(path) -> np.ndarray:
    """What SimpleITK says of a file, from LPS to RAS."""
    image = sitk.ReadImage(str(path))
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection()[:9], (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ lps


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"space": "right-anterior-superior"},
        {"space": "left-anterior-superior"},
        {"space": "RAS"},
        {"space": "LPS"},
        {"space": "scanner-xyz"},
        {"space": None, "space_dimension": "3"},
        {"space": None, "space_directions": None, "space_origin": None, "spacings": "0.8 0.9 2"},
        {"endian": "big"},
        {"encoding": "gzip"},
    ],
    ids=lambda fields: ", ".join(f"{name} {value}" for name, value in fields.items()) or "LPS in words",
)
def test_nrrd_is_read_as_simpleitk_reads_it(tmp_path, fields):
    voxels = {"big": HU.astype(">i2").tobytes(order="F")}.get(fields.get("endian"), RAW)
    voxels = gzip.compress(voxels) if "encoding" in fields else voxels
    volume = read_volume(nrrd(tmp_path / "ct.nrrd", voxels, **fields))
    np.testing.assert_allclose(volume.source.affine, itk_affine(tmp_path / "ct.nrrd"), atol=1e-12)
    assert np.array_equal(volume.to_source_axes(), HU)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"BinaryDataByteOrderMSB": "True"},
        {"ElementByteOrderMSB": "True", "BinaryDataByteOrderMSB": None},
        {"TransformMatrix": None},
        {"Position": "1 2 3", "Offset": None},
        {"ElementSpacing": None, "ElementSize": "1 2 3"},
        {"CompressedData": "True"},
    ],
    ids=lambda fields: ", ".join(f"{name} {value}" for name, value in fields.items()) or "plain",
)
def test_metaimage_is_read_as_simpleitk_reads_it(tmp_path, fields):
    swapped = "True" in (fields.get("BinaryDataByteOrderMSB"), fields.get("ElementByteOrderMSB"))
    voxels = HU.astype(">i2" if swapped else "<i2").tobytes(order="F")
    if "CompressedData" in fields:
        voxels = zlib.compress(voxels)
        fields = fields | {"CompressedDataSize": len(voxels)}
    volume = read_volume(meta(tmp_path / "ct.mha", voxels, **fields))
    np.testing.assert_allclose(volume.source.affine, itk_affine(tmp_path / "ct.mha"), atol=1e-12)
    assert np.array_equal(volume.to_source_axes(), sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "ct.mha")).T)
    assert np.array_equal(volume.to_source_axes(), HU)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_scalar_type_is_read(tmp_path, suffix, dtype):
    values = np.abs(HU).astype(dtype)
    image = sitk.GetImageFromArray(values.T)
    sitk.WriteImage(image, str(tmp_path / f"ct{suffix}"), useCompression=True)
    assert np.array_equal(read_volume(tmp_path / f"ct{suffix}").to_source_axes(), values)
    labels = read_labels(tmp_path / f"ct{suffix}")
    assert labels.array.dtype == np.uint8 and np.array_equal(labels.to_source_axes(), values)


@pytest.mark.parametrize(
    ("code", "bits", "named"),
    [
        (32, 64, "complex64 values"),
        (1792, 128, "complex128 values"),
        (128, 24, "colours"),
        (1536, 128, "1536 not supported"),
    ],
)
def test_other_nifti_types_are_refused_by_their_name(tmp_path, code, bits, named):
    """Complex numbers, colours, and numbers of 16 bytes where the machine has none."""
    image = nibabel.Nifti1Image(HU, np.eye(4))
    content = bytearray(image.to_bytes() + bytes(3000))
    struct.pack_into("<hh", content, 70, code, bits)
    (tmp_path / "ct.nii").write_bytes(content)
    assert named in refusal(tmp_path / "ct.nii")


@pytest.mark.parametrize("dtype", ["u2", "i4", "u8", "i8", "f4"])
def test_values_beyond_int16_are_clipped_whatever_the_type(tmp_path, dtype):
    values = np.full(SHAPE, 5, dtype)
    values[0, 0, 0] = 40_000
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4), dtype=values.dtype), tmp_path / "ct.nii")
    assert read_volume(tmp_path / "ct.nii").to_source_axes()[0, 0, :2].tolist() == [32767, 5]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_a_trailing_axis_of_one_is_dropped_in_every_format(tmp_path, suffix):
    image = sitk.GetImageFromArray(HU.T)
    image.SetSpacing((0.8, 0.9, 2.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / f"four{suffix}"))
    sitk.WriteImage(image, str(tmp_path / f"three{suffix}"))
    four, three = (read_volume(tmp_path / f"{name}{suffix}") for name in ("four", "three"))
    assert np.array_equal(four.array, three.array)
    np.testing.assert_allclose(four.source.affine, three.source.affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_series_vectors_and_colours_are_refused_in_every_format(tmp_path, suffix):
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(HU.T)] * 2), str(path))
    assert "4 axes" in refusal(path)
    for colours in (2, 3):
        vectors = np.zeros((6, 5, 4, colours), np.uint8 if colours == 3 else np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), str(path))
        refusal(path)
    sitk.WriteImage(sitk.GetImageFromArray(HU.T.astype(np.complex64)), str(path))
    refusal(path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sizes": "4 5 -6"}, "size is"),
        ({"sizes": "4 5 0"}, "size is"),
        ({"sizes": "4 5 six"}, "'sizes'"),
        ({"sizes": "2147483648 2147483648 6"}, "speaks of"),
        ({"sizes": "4 5 7"}, "speaks of"),
        ({"dimension": "4"}, "'dimension'"),
        ({"dimension": "1000", "sizes": "4 5 6" + " 1" * 997}, "'dimension'"),
        ({"type": "block"}, "'type'"),
        ({"type": None}, "'type'"),
        ({"endian": "middle"}, "'endian'"),
        ({"endian": None}, "'endian'"),
        ({"encoding": "bzip2"}, "'encoding' says 'bzip2'"),
        ({"encoding": "hex"}, "'encoding'"),
        ({"encoding": "ascii"}, "'encoding'"),
        ({"space_directions": "(nan,0,0) (0,1,0) (0,0,1)"}, "'space directions'"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "'space directions'"),
        ({"space_directions": "none (0,1,0) (0,0,1)"}, "'space directions'"),
        ({"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}, "no usable geometry"),
        ({"space_origin": "(0,0,inf)"}, "'space origin'"),
        ({"kinds": "RGB-color domain domain"}, "'kinds'"),
        ({"line_skip": "3"}, "'line skip'"),
        ({"space_directions": None, "axis_mins": "1 2 3"}, "'axis mins'"),
        ({"byte_skip": "-2"}, "'byte skip'"),
        ({"byte_skip": "1000000000000"}, "speaks of"),
        ({"data_file": "LIST"}, "'data file' says 'LIST'"),
        ({"data_file": "/dev/zero"}, "'data file'"),
        ({"data_file": "../ct.raw"}, "'data file'"),
        ({"data_file": "ct%02d.raw 1 3 1"}, "'data file'"),
        ({"data_file": "missing.raw"}, "no file beside it"),
    ],
)  # fmt: skip
def test_a_nrrd_header_that_cannot_be_is_refused_by_its_field(tmp_path, fields, named):
    assert named in refusal(nrrd(tmp_path / "ct.nrrd", **fields))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"DimSize": "4 5 -6"}, "size is"),
        ({"DimSize": "4 5 7"}, "speaks of"),
        ({"DimSize": "2147483648 2147483648 6"}, "speaks of"),
        ({"DimSize": "4 5"}, "'NDims'"),
        ({"NDims": "1000", "DimSize": "4 5 6" + " 1" * 997}, "'NDims'"),
        ({"ElementNumberOfChannels": "3"}, "3 values a voxel"),
        ({"ElementType": "MET_SHORT_ARRAY"}, "'ElementType'"),
        ({"BinaryData": "False"}, "'BinaryData'"),
        ({"CompressedData": "perhaps"}, "'CompressedData'"),
        ({"ElementSpacing": "1 1 0"}, "'ElementSpacing'"),
        ({"ElementSpacing": "1 1 nan"}, "'ElementSpacing'"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0"}, "'TransformMatrix'"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "no usable geometry"),
        ({"HeaderSize": "-2"}, "'HeaderSize'"),
        ({"HeaderSize": "99999999"}, "speaks of"),
        ({"ElementDataFile": "LIST"}, "'ElementDataFile' says 'LIST'"),
        ({"ElementDataFile": "/dev/zero"}, "'ElementDataFile'"),
        ({"ElementDataFile": "../ct.raw"}, "'ElementDataFile'"),
        ({"ElementDataFile": "ct%02d.raw 1 3 1"}, "'ElementDataFile'"),
        ({"ElementDataFile": "missing.raw"}, "no file beside it"),
    ],
)  # fmt: skip
def test_a_metaimage_header_that_cannot_be_is_refused_by_its_field(tmp_path, fields, named):
    assert named in refusal(meta(tmp_path / "ct.mha", **fields))


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({}, RAW),
        ({"byte_skip": "9"}, b"somewhere" + RAW),
        ({"byte_skip": "-1"}, b"whatever" + RAW),
        ({"encoding": "gzip"}, gzip.compress(RAW)),
    ],
)
def test_the_voxels_of_a_nrrd_may_lie_in_a_file_beside_it(tmp_path, fields, content):
    (tmp_path / "ct.raw").write_bytes(content)
    for name, beside in (("ct.nrrd", "ct.raw"), ("ct.nhdr", "./ct.raw")):
        volume = read_volume(nrrd(tmp_path / name, b"", **fields, data_file=beside))
        assert np.array_equal(volume.to_source_axes(), HU)


@pytest.mark.parametrize(
    ("fields", "content"),
    [({}, RAW), ({"HeaderSize": "9"}, b"somewhere" + RAW), ({"HeaderSize": "-1"}, b"whatever" + RAW),
     ({"CompressedData": "True"}, zlib.compress(RAW))],
)  # fmt: skip
def test_the_voxels_of_a_metaimage_may_lie_in_a_file_beside_it(tmp_path, fields, content):
    (tmp_path / "ct.raw").write_bytes(content)
    for beside in ("ct.raw", "./ct.raw"):
        volume = read_volume(meta(tmp_path / "ct.mhd", b"", **fields, ElementDataFile=beside))
        assert np.array_equal(volume.to_source_axes(), HU)


def test_pipes_and_devices_are_no_volumes(tmp_path):
    """Reading one would wait, or go on, for ever."""
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe.nii.gz", "zero.nii", "pipe"):
        assert "pipe or device" in refusal(tmp_path / name)
    (tmp_path / "zero.raw").symlink_to("/dev/zero")
    assert "no file beside it" in refusal(meta(tmp_path / "ct.mhd", b"", ElementDataFile="zero.raw"))


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.mha"])
def test_a_header_that_never_ends_is_refused(tmp_path, name):
    start, line = (b"NRRD0004\n", b"a: b\n") if name == "ct.nrrd" else (b"ObjectType = Image\n", b"Comment = b\n")
    for endless in (line * 400_000, b"x" * 2_000_000):
        (tmp_path / name).write_bytes(start + endless)
        assert re.search("never ends|is there twice", refusal(tmp_path / name))


def test_a_field_that_is_there_twice_is_refused(tmp_path):
    path = nrrd(tmp_path / "ct.nrrd")
    path.write_bytes(path.read_bytes().replace(b"endian", b"sizes: 1 1 1\nendian", 1))
    assert "'sizes' is there twice" in refusal(path)


def test_a_field_may_be_there_under_two_names_that_agree(tmp_path):
    path = meta(tmp_path / "ct.mha", ElementByteOrderMSB="False", Position=META["Offset"], BinaryData="T")
    assert np.array_equal(read_volume(path).to_source_axes(), HU)
    with pytest.raises(InputError, match="'BinaryDataByteOrderMSB' is there twice"):
        read_volume(meta(tmp_path / "ct.mha", ElementByteOrderMSB="True"))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_packed_voxels_are_checked_to_the_last_bit(tmp_path, suffix):
    """ITK hands out what it could unpack of a damaged .mha."""
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(HU.T), str(path), useCompression=True)
    whole = path.read_bytes()
    for back in range(1, 60):
        damaged = bytearray(whole)
        damaged[-back] ^= 4
        path.write_bytes(damaged)
        refusal(path)


def test_a_grid_that_says_no_orientation_is_read_with_a_warning(tmp_path, warnings):
    read_volume(nrrd(tmp_path / "bare.nrrd", space=None))
    read_volume(meta(tmp_path / "bare.mha", TransformMatrix=None))
    assert "bare.nrrd: says no orientation" in warnings.text and "bare.mha: says no orientation" in warnings.text
    warnings.clear()
    read_volume(nrrd(tmp_path / "ct.nrrd"))
    read_volume(meta(tmp_path / "ct.mha"))
    assert warnings.text == ""


def nifti(path, *, sform=None, qform=None, **fields):
    """A .nii file with the forms (4, 4) that are given, and header fields as they are."""
    image = nibabel.Nifti1Image(HU, None)
    image.set_sform(sform, code=1 if sform is not None else 0)
    image.set_qform(qform, code=1 if qform is not None else 0)
    content = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def test_forms_that_differ_are_reported_and_the_sform_holds(tmp_path, warnings):
    sform = np.diag([1.0, 2.0, 3.0, 1.0])
    turned = sform.copy()
    turned[:2, :2] = [[np.cos(0.2), -2 * np.sin(0.2)], [np.sin(0.2), 2 * np.cos(0.2)]]
    volume = read_volume(nifti(tmp_path / "ct.nii", sform=sform, qform=turned))
    assert np.allclose(volume.source.affine, sform)
    assert "its sform and qform differ by up to 1.71 mm and 11 degrees; the sform is used" in warnings.text


@pytest.mark.parametrize("moved_mm", [0.0, 0.05])
def test_forms_that_agree_but_for_rounding_are_not_reported(tmp_path, warnings, moved_mm):
    affine = np.array([[0.7, 0.02, 0, -180.3], [-0.02, 0.7, 0, 90.1], [0, 0, 2.5, 1000.7], [0, 0, 0, 1]])
    nudged = affine + np.eye(4, k=3) * moved_mm
    read_volume(nifti(tmp_path / "ct.nii", sform=affine, qform=nudged))
    assert warnings.text == ""


def test_a_qform_that_is_no_rotation_is_reported_beside_an_sform(tmp_path, warnings):
    path = nifti(tmp_path / "ct.nii", sform=np.eye(4), qform=np.eye(4), quatern_b=2.0)
    assert np.allclose(read_volume(path).source.affine, np.eye(4))
    assert "its qform is no rotation; the sform is used" in warnings.text


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 7.0), (np.nan, np.nan), (np.inf, 0.0), (1.0, 0.0)])
def test_a_slope_that_is_none_scales_nothing(tmp_path, slope, intercept):
    path = nifti(tmp_path / "ct.nii", sform=np.eye(4), scl_slope=slope, scl_inter=intercept)
    assert np.array_equal(read_volume(path).to_source_axes(), HU)


def test_one_half_of_a_pair_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(HU, np.eye(4)), tmp_path / "ct.hdr")
    assert "or convert" in refusal(tmp_path / "ct.img")
    (tmp_path / "ct.hdr").rename(tmp_path / "ct.nii")
    assert "one half of a pair" in refusal(tmp_path / "ct.nii")


def test_a_grid_that_is_not_orthonormal_is_read_through_nibabel(tmp_path):
    """SimpleITK refuses these direction cosines."""
    sheared = np.array([[0.8, 0.1, 0, 1], [0, 0.9, 0.6, 2], [0, 0, 3.0, 4], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(HU, sheared), tmp_path / "ct.nii.gz")
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    volume = read_volume(tmp_path / "ct.nii.gz")
    np.testing.assert_allclose(volume.source.affine, sheared, atol=1e-6)
    assert np.array_equal(volume.to_source_axes(), HU)


def test_nan_that_itk_reads_as_zero_is_found_in_the_files_own_slice(tmp_path):
    """A file stored from head to feet: canonical slice 1 is its slice 4."""
    values = HU.astype(np.float32)
    values[1, 2, 4] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, -2.0, 1.0])), tmp_path / "ct.nii.gz")
    assert "1 voxels that are NaN or infinite, the first in slice 4" in refusal(tmp_path / "ct.nii.gz")


def test_a_label_map_may_be_scaled(tmp_path):
    image = nibabel.Nifti1Image((HU % 7).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, 1.0)
    nibabel.save(image, tmp_path / "mask.nii.gz")
    content = bytearray(gzip.decompress((tmp_path / "mask.nii.gz").read_bytes()))
    struct.pack_into("<2f", content, 112, 2.0, 1.0)
    stored = np.frombuffer(bytes(content[352:]), "<i2").reshape(SHAPE, order="F")
    (tmp_path / "mask.nii.gz").write_bytes(gzip.compress(bytes(content)))
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz").to_source_axes(), stored * 2 + 1)


def test_real_volumes_lie_where_simpleitk_and_nibabel_say(shared_data):
    for path in sorted((shared_data / "totalsegmentator").glob("*ct*.nii.gz")):
        volume = read_volume(path) if "label" not in path.name else read_labels(path)
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.source.shape) - 1)
        image = sitk.ReadImage(str(path))
        by_itk = [np.array(image.TransformIndexToPhysicalPoint(c.tolist())) * (-1, -1, 1) for c in corners]
        np.testing.assert_allclose(nibabel.affines.apply_affine(volume.source.affine, corners), by_itk, atol=1e-3)
        assert np.array_equal(volume.source.affine, nibabel.load(path).affine)
