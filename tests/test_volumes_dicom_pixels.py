"""From stored values to HU: rescale, padding, bits that do not count, compression."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from dicom_files import HU, ORDER, compressed, ct_slice, enhanced_ct, save, write_series
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from flarekit.errors import InputError
from flarekit.volumes import read_volume
from flarekit.volumes.dicom.codestream import Stated, runs_fit, stated_size

SMOOTH = (np.arange(24 * 20).reshape(24, 20) - 500).astype(np.int16)


def read_slice(folder, ds):
    """HU (rows, columns) of one slice in a folder of its own."""
    save(ds, folder / "IM1")
    return read_volume(folder, hu_offset=0).array[0]


def test_every_slice_has_a_rescale_of_its_own(tmp_path):
    write_series(tmp_path, RescaleSlope=lambda z: 1 + 0.5 * z, RescaleIntercept=lambda z: -100 * z)
    expected = [np.rint(HU[z] * (1 + 0.5 * z) - 100 * z) for z in range(len(HU))]
    assert np.array_equal(read_volume(tmp_path).array, expected)


def test_values_are_clipped_to_what_int16_holds(tmp_path):
    hu = read_slice(tmp_path, ct_slice(HU[0], 0, RescaleSlope=1000))
    assert np.array_equal(hu, np.clip(HU[0].astype(int) * 1000, -32768, 32767))


@pytest.mark.parametrize("rescale", [{"RescaleSlope": 0}, {"RescaleSlope": 1, "RescaleIntercept": "1e400"}])
def test_a_rescale_that_gives_no_hu_is_refused(tmp_path, rescale):
    with pytest.raises(InputError, match="rescale that gives no HU"):
        read_slice(tmp_path, ct_slice(HU[0], 0, **rescale))


@pytest.mark.parametrize(
    ("dtype", "stored", "tag"),
    [(np.int16, -2000, -2000), (np.uint16, 63536, 63536), (np.uint16, 63536, -2000), (np.int16, -2000, 63536)],
)
def test_padding_becomes_air_whichever_type_its_tag_has(tmp_path, dtype, stored, tag):
    values = np.arange(1000, 1030).reshape(5, 6).astype(dtype)
    values[1, 2] = stored
    ds = ct_slice(values, 0, RescaleIntercept=-1024)
    ds.add_new("PixelPaddingValue", "SS" if tag < 0 else "US", tag)
    hu = read_slice(tmp_path, ds)
    assert hu[1, 2] == -1024
    untouched = np.ones(hu.shape, bool)
    untouched[1, 2] = False
    assert np.array_equal(hu[untouched], values[untouched].astype(int) - 1024)


def test_padding_may_have_bits_that_do_not_count(tmp_path):
    words = np.arange(1000, 1030, dtype=np.uint16).reshape(5, 6)
    words[1, 2] = 63536
    ds = ct_slice(words, 0, BitsStored=12, HighBit=11, RescaleIntercept=-1024)
    ds.add_new("PixelPaddingValue", "US", 63536)
    hu = read_slice(tmp_path, ds)
    assert hu[1, 2] == -1024 and hu[1, 3] == 1009 - 1024


def test_a_range_of_padding_becomes_air(tmp_path):
    values = HU[0].copy()
    values[0, :3] = (-2000, -1990, -1980)
    ds = ct_slice(values, 0)
    ds.add_new("PixelPaddingValue", "SS", -1985)
    ds.add_new("PixelPaddingRangeLimit", "SS", -2000)
    assert read_slice(tmp_path, ds)[0, :3].tolist() == [-1024, -1024, -1980]


def test_padding_that_stands_for_tissue_is_taken_for_a_measurement(tmp_path):
    values = HU[0].copy()
    values[2, 2] = 0
    ds = ct_slice(values, 0)
    ds.add_new("PixelPaddingValue", "SS", 0)
    assert np.array_equal(read_slice(tmp_path, ds), values)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_that_do_not_count_are_left_out(tmp_path, signed):
    """Twelve bits of sixteen, with an overlay in the others, as old scanners stored it."""
    values = np.arange(30).reshape(5, 6) * 100 - (1500 if signed else 0)
    words = ((values & 0x0FFF) | 0x5000).astype(np.uint16)
    ds = ct_slice(words, 0, BitsStored=12, HighBit=11, PixelRepresentation=signed)
    assert np.array_equal(read_slice(tmp_path, ds), values)


def test_counting_bits_may_lie_above_others(tmp_path):
    words = (np.arange(30).reshape(5, 6) << 4 | 0x3).astype(np.uint16)
    assert np.array_equal(read_slice(tmp_path, ct_slice(words, 0, BitsStored=12, HighBit=15)), words >> 4)


def test_bytes_are_read(tmp_path):
    values = np.arange(30, dtype=np.uint8).reshape(5, 6)
    ds = ct_slice(values, 0, RescaleSlope=10, RescaleIntercept=-100)
    assert np.array_equal(read_slice(tmp_path, ds), values.astype(int) * 10 - 100)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_are_read(tmp_path, syntax):
    for number, z in enumerate(ORDER):
        values = HU[z].astype(">i2") if syntax == ExplicitVRBigEndian else HU[z]
        ds = ct_slice(values, z)
        ds.add_new("PixelPaddingValue", "SS", -2000)
        save(ds, tmp_path / f"IM{number}", syntax)
    assert np.array_equal(read_volume(tmp_path).array, HU)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_of_many_frames_are_read(tmp_path, syntax):
    ds = enhanced_ct(HU.astype(">i2") if syntax == ExplicitVRBigEndian else HU)
    volume = read_volume(save(ds, tmp_path / "ct.dcm", syntax))
    assert np.array_equal(volume.array, HU + 10 * np.arange(len(HU))[:, None, None])


@pytest.mark.parametrize("kind", ["RLE", "JPEG", "JPEG2000"])
def test_compressed_slices_are_decoded_without_loss(tmp_path, kind):
    """Rescale and padding are applied here: GDCM is asked for stored values."""
    values = SMOOTH.copy()
    values[3, 4] = -2000
    ds = compressed(ct_slice(values, 0, RescaleSlope=2, RescaleIntercept=-24, PixelPaddingValue=-2000), kind, tmp_path)
    hu = read_slice(tmp_path, ds)
    assert hu[3, 4] == -1024
    hu[3, 4] = -2000 * 2 - 24
    assert np.array_equal(hu, values.astype(int) * 2 - 24)


@pytest.mark.parametrize("offset_table", [True, False])
def test_compressed_frames_are_found_in_their_fragments(tmp_path, offset_table):
    stored = np.stack([SMOOTH + z for z in range(4)])
    ds = enhanced_ct(stored)
    frames = []
    for z in ORDER:
        one = compressed(ct_slice(stored[z], z), "JPEG2000", tmp_path)
        frames.append(next(generate_frames(one.PixelData, number_of_frames=1)))
    ds.file_meta.TransferSyntaxUID = one.file_meta.TransferSyntaxUID
    ds.PixelData = encapsulate(frames, fragments_per_frame=2 if offset_table else 1, has_bot=offset_table)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    save(ds, tmp_path / "ct" / "IM1")
    volume = read_volume(tmp_path / "ct")
    assert np.array_equal(volume.array, stored + 10 * np.arange(4)[:, None, None])


def test_fragments_that_belong_to_no_frame_are_refused(tmp_path):
    ds = enhanced_ct(np.stack([SMOOTH] * 4))
    one = compressed(ct_slice(SMOOTH, 0), "JPEG2000", tmp_path)
    ds.file_meta.TransferSyntaxUID, ds.PixelData = one.file_meta.TransferSyntaxUID, one.PixelData
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    with pytest.raises(InputError, match="does not say where its frames begin"):
        read_volume(save(ds, tmp_path / "ct.dcm"))


@pytest.mark.parametrize(
    ("elements", "what"),
    [
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "holds RGB pixels, a CT has one grey value"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "holds PALETTE COLOR pixels"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "a pixel takes 12 bits"),
        ({"BitsStored": 20}, "20 bits up to bit 15 of 16 count"),
        ({"Rows": 0}, "has the shape 1 x 0 x 6"),
        ({"Rows": 60000, "Columns": 60000}, "is cut short: it holds 60 of 7200000000 bytes"),
        ({"PixelData": None}, "holds no whole-number pixels"),
    ],
)
def test_pixels_that_are_no_ct_are_refused(tmp_path, elements, what):
    ds = ct_slice(HU[0], 0)
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    with pytest.raises(InputError, match=what):
        read_slice(tmp_path, ds)


def test_monochrome1_is_a_way_of_showing_and_changes_no_value(tmp_path):
    assert np.array_equal(read_slice(tmp_path, ct_slice(HU[0], 0, PhotometricInterpretation="MONOCHROME1")), HU[0])


def test_a_compressed_image_of_another_size_is_refused(tmp_path):
    ds = compressed(ct_slice(SMOOTH, 0), "JPEG2000", tmp_path)
    ds.Rows = 4000
    with pytest.raises(InputError, match="compressed image that is not the 4000 x 20"):
        read_slice(tmp_path, ds)


def test_compressed_values_of_other_bits_are_refused_before_they_are_decoded(tmp_path):
    """188 bits a value: GDCM's decoder would crash."""
    file = save(compressed(ct_slice(SMOOTH, 0), "JPEG", tmp_path), tmp_path / "IM1")
    size = struct.pack(">HH", 24, 20)
    assert b"\x10" + size in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(b"\x10" + size, b"\xbc" + size))
    with pytest.raises(InputError, match="compressed values of 188 bits, where 16 are described"):
        read_volume(tmp_path)


def test_a_claim_that_no_compression_justifies_is_refused(tmp_path):
    ds = compressed(ct_slice(SMOOTH, 0), "RLE", tmp_path)
    ds.Rows = ds.Columns = 60000
    with pytest.raises(InputError, match="claims 7200 MB of pixels"):
        read_slice(tmp_path, ds)


def test_an_unknown_transfer_syntax_is_named(tmp_path):
    ds = ct_slice(HU[0], 0)
    file = save(ds, tmp_path / "IM1")
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(InputError, match="its transfer syntax 1.2.840.10008.1.2.9 cannot be read"):
        read_volume(tmp_path)


def test_sizes_are_read_from_the_streams_themselves(tmp_path):
    for kind in ("JPEG", "JPEG2000"):
        ds = compressed(ct_slice(SMOOTH, 0), kind, tmp_path)
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
        assert stated_size(frame) == Stated(rows=24, columns=20, bits=16)
        assert stated_size(frame[:10]) is None
    assert stated_size(b"") is None


@pytest.mark.parametrize(("tile", "stated"), [(20, Stated(rows=24, columns=20, bits=16)), (0, None)])
def test_tiles_are_counted(tile, stated):
    def stream(width, tile):
        sizes = (width, 24, 0, 0, tile, tile, 0, 0)
        return b"\xff\x4f\xff\x51" + struct.pack(">HH8IH3B", 41, 0, *sizes, 1, 15, 1, 1)

    assert stated_size(stream(20, tile)) == stated
    assert stated_size(stream(5000, 1)) is None


def test_the_size_of_jpeg_ls_is_found_behind_other_segments():
    comment, frame = b"\xff\xfe\x00\x04ab", struct.pack(">HBHHB", 11, 16, 24, 20, 1)
    assert stated_size(b"\xff\xd8" + comment + b"\xff\xff\xf7" + frame) == Stated(rows=24, columns=20, bits=16)


def test_run_lengths_have_to_lie_within_the_frame():
    def header(*words):
        return struct.pack("<16I", *words, *[0] * (16 - len(words)))

    assert runs_fit(header(2, 64, 66) + bytes(4), 2)
    assert not runs_fit(header(2, 64, 70) + bytes(4), 2)
    assert not runs_fit(header(2, 66, 64) + bytes(4), 2)
    assert not runs_fit(header(1, 64) + bytes(4), 2)
    assert not runs_fit(b"short", 2)


def test_the_real_padding_is_air(shared_data):
    """GE fills the corners with -2000, which the rescale would make -3024."""
    folder = shared_data / "dcmqi_ct3slice"
    stored = pydicom.dcmread(folder / "01.dcm").pixel_array
    volume = read_volume(folder)
    assert (stored == -2000).any() and volume.array.min() == -1024
