"""Zips of DICOM: read like the folder, unpacked without harm, cleared away."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections import namedtuple

import numpy as np
import pytest
from dicom_files import HU, save, segmentation, write_series

from flarekit.errors import InputError
from flarekit.volumes import read_labels, read_volume
from flarekit.volumes.dicom.archive import unpacked


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that temporary files go to, empty before and after."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def archive(tmp_path):
    """A zip of a series, whose members tests may add to."""
    write_series(tmp_path / "ct")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        for file in (tmp_path / "ct").iterdir():
            opened.write(file, f"export/series/{file.name}")
    return tmp_path / "ct.zip"


def add(archive, name, content, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, content, compression)


def test_a_zip_is_read_like_its_folder(archive, temporary):
    volume, folder = read_volume(archive), read_volume(archive.with_suffix(""))
    assert np.array_equal(volume.array, HU)
    np.testing.assert_array_equal(volume.affine, folder.affine)
    assert volume.path == archive


def test_a_series_is_chosen_in_a_zip(archive, tmp_path, temporary):
    for file in write_series(tmp_path / "other", uid="1.2.8", hu=HU + 1).iterdir():
        add(archive, f"other/{file.name}", file.read_bytes())
    with pytest.raises(InputError, match="holds 2 CT series") as caught:
        read_volume(archive)
    assert caught.value.where == archive
    assert np.array_equal(read_volume(archive, series="8").array, HU + 1)


def test_other_files_and_nested_zips_are_passed_over(archive, temporary):
    add(archive, "README.txt", "not DICOM")
    add(archive, "more.zip", archive.read_bytes())
    assert np.array_equal(read_volume(archive).array, HU)


def test_what_is_not_dicom_is_not_unpacked(archive, temporary):
    add(archive, "README.txt", "not DICOM" * 1000)
    with unpacked(archive) as folder:
        assert sorted(file.name[7:] for file in folder.iterdir()) == [f"IM000{n}.dcm" for n in range(4)]


def test_a_member_without_a_name_is_read_like_any_other(archive, tmp_path, temporary):
    nameless = zipfile.ZipInfo("IM")
    nameless.filename = ""
    with zipfile.ZipFile(tmp_path / "nameless.zip", "w") as copy, zipfile.ZipFile(archive) as opened:
        for number, name in enumerate(opened.namelist()):
            copy.writestr(name if number else nameless, opened.read(name))
    assert np.array_equal(read_volume(tmp_path / "nameless.zip").array, HU)


def test_no_member_leaves_the_temporary_folder(archive, tmp_path, temporary):
    stray = next((tmp_path / "ct").iterdir()).read_bytes()
    for name in ("../../stray.dcm", "/tmp/stray.dcm", "export", "export/series"):
        add(archive, name, stray)
    assert np.array_equal(read_volume(archive).array, HU)
    assert not list(tmp_path.rglob("*stray*"))


def test_errors_name_the_member(archive, tmp_path, temporary):
    add(archive, "export/IM9", (tmp_path / "ct" / "IM0001.dcm").read_bytes()[:-10])
    with pytest.raises(InputError, match=r"ct\.zip/export/IM9: is cut short"):
        read_volume(archive)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr("flarekit.volumes.dicom.archive._FREE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(20):
            opened.writestr(f"{number}", bytes(1 << 20))
    with pytest.raises(InputError, match="would unpack to 20 files of 0.0 GB, which is no plausible scan"):
        read_volume(tmp_path / "bomb.zip")


def test_more_than_the_disk_holds_is_refused(archive, temporary, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 90, 10))
    with pytest.raises(InputError, match="needs 0.0 GB to unpack.*set TMPDIR"):
        read_volume(archive)


def test_an_encrypted_zip_is_refused(archive, temporary):
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    archive.write_bytes(data)
    with pytest.raises(InputError, match="is encrypted"):
        read_volume(archive)


def test_other_compressions_are_refused(archive, temporary):
    add(archive, "large", bytes(1000), zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match="compressed in an unusual way"):
        read_volume(archive)


@pytest.mark.parametrize("kept", [0, 100, 1500, -40])
def test_a_damaged_zip_is_refused(archive, temporary, kept):
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_volume(archive)


def test_a_flipped_byte_is_found_by_the_checksum(archive, temporary):
    data = bytearray(archive.read_bytes())
    data[400] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_volume(archive)


def test_a_zip_without_dicom_is_refused(tmp_path, temporary):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as opened:
        opened.writestr("README", "nothing")
    with pytest.raises(InputError, match="holds no DICOM image"):
        read_volume(tmp_path / "empty.zip")


def test_a_segmentation_is_read_from_a_zip(archive, tmp_path, temporary):
    seg = save(segmentation(np.ones((1, 5, 6)), (0,), (4,)), tmp_path / "seg.dcm")
    add(archive, "seg", seg.read_bytes())
    assert (read_labels(archive).array == 4).all()
