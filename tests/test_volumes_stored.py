"""Voxels are taken out of a file exactly as its header says, in no more memory than that, or not at all."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zlib

import nibabel
import numpy as np
import pytest

from flarekit.errors import InputError
from flarekit.volumes import Volume, read_volume, write_volume
from flarekit.volumes.inflate import Inflater
from flarekit.volumes.stored import StoredVoxels, read_voxels

VOXELS = np.random.default_rng(1).integers(-1000, 1000, (4, 5, 6)).astype("<i2")
RAW = VOXELS.tobytes(order="F")


def stored_as(path, content, **more) -> StoredVoxels:
    path.write_bytes(content)
    return StoredVoxels(path=path, dtype=VOXELS.dtype, shape=VOXELS.shape, **more)


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (RAW, {}),
        (b"header" + RAW, {"offset": 6}),
        (RAW + bytes(1000), {}),
        (gzip.compress(RAW), {"is_deflated": True}),
        (zlib.compress(RAW), {"is_deflated": True}),
        (b"header" + gzip.compress(b"NIfTI" + RAW), {"offset": 6, "skipped": 5, "is_deflated": True}),
        (gzip.compress(RAW[:99]) + gzip.compress(b"") + gzip.compress(RAW[99:]) + bytes(512), {"is_deflated": True}),
        (gzip.compress(RAW + bytes(1000)), {"is_deflated": True}),
    ],
    ids=["raw", "offset", "padding", "gzip", "zlib", "skipped", "members", "packed padding"],
)
def test_voxels_are_found_where_the_header_says(tmp_path, content, more):
    array = read_voxels(stored_as(tmp_path / "voxels", content, **more))
    assert np.array_equal(array, VOXELS) and array.flags.f_contiguous and array.flags.writeable


@pytest.mark.parametrize(
    ("content", "more", "reason"),
    [
        (RAW[:-1], {}, "the file has 239 for them"),
        (RAW, {"offset": 1}, "the file has 239 for them"),
        (RAW, {"offset": 2**62}, "the file has 0 for them"),
        (RAW + bytes(2**17), {}, "more than the 240 bytes"),
        (gzip.compress(RAW[:-1]), {"is_deflated": True}, "cut short: 239 of 240"),
        (gzip.compress(RAW)[:-9], {"is_deflated": True}, "compressed data are cut short"),
        (gzip.compress(RAW)[:-3], {"is_deflated": True}, "compressed data are cut short"),
        (gzip.compress(RAW)[:-1] + b"x", {"is_deflated": True}, "incorrect length check"),
        (zlib.compress(RAW)[:-1] + b"x", {"is_deflated": True}, "incorrect data check"),
        (gzip.compress(RAW) + b"more", {"is_deflated": True}, "incorrect header check"),
        (gzip.compress(RAW + bytes(2**17)), {"is_deflated": True}, "more than the 240 bytes"),
        (gzip.compress(RAW), {"is_deflated": True, "skipped": 2**40}, "speaks of 240 bytes"),
        (gzip.compress(RAW), {"is_deflated": True, "skipped": 300}, "ends before its voxels begin"),
        (gzip.compress(RAW[:9]) + gzip.compress(b"") * 1000, {"is_deflated": True}, "members that hold nothing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_header_is_refused(tmp_path, content, more, reason):
    with pytest.raises((ValueError, EOFError, zlib.error), match=reason):
        read_voxels(stored_as(tmp_path / "voxels", content, **more))


def test_packed_bytes_come_in_order_whatever_the_pieces():
    whole = np.random.default_rng(2).integers(0, 9, 700_000).astype(np.uint8).tobytes()
    inflater = Inflater(io.BytesIO(gzip.compress(whole, 1)))
    assert inflater.read(5) == whole[:5]
    inflater.skip(300_000)
    assert inflater.read(10**6) == whole[300_005:]
    assert inflater.read(1) == b""


@pytest.mark.parametrize("packed", [False, True], ids=[".nii", ".nii.gz"])
def test_a_small_file_that_claims_a_huge_volume_is_refused_at_once(tmp_path, packed):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((30_000, 30_000, 22))  # 40 GB
    path = tmp_path / ("ct.nii.gz" if packed else "ct.nii")
    content = header.binaryblock + bytes(1000)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match="speaks of 39600000000 bytes"):
        read_volume(path)


READING = """
import sys
from pathlib import Path
from flarekit.errors import InputError
from flarekit.volumes import read_volume
small, path = Path(sys.argv[1]), Path(sys.argv[2])
read_volume(small)
def highest_kb():
    status = Path("/proc/self/status").read_text()
    return int(status[status.index("VmHWM:"):].split()[1])
Path("/proc/self/clear_refs").write_text("5")  # so that the highest is what is taken now
before = highest_kb()
try:
    read_volume(path, hu_offset=0)
except InputError as error:
    print(error)
print((highest_kb() - before) / 1024)
"""


def read_in_child(tmp_path, path) -> list[str]:
    """What a process that reads a file prints: an error, if any, and the MB of memory that reading took."""
    small = tmp_path / f"small{''.join(path.suffixes)}"
    write_volume(small, Volume.from_source(VOXELS, np.eye(4)))
    command = [sys.executable, "-c", READING, small, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_stream_that_never_ends_is_left_where_the_volume_does(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, np.diag([1.0, 2.0, 3.0, 1.0]))
    bomb = gzip.compress(image.to_bytes()) + gzip.compress(bytes(1 << 26), 1) * 10
    (tmp_path / "bomb.nii.gz").write_bytes(bomb)
    message, peak_mb = read_in_child(tmp_path, tmp_path / "bomb.nii.gz")
    assert "more than the 240 bytes" in message
    assert float(peak_mb) < 20


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.mha"])
def test_reading_takes_the_memory_of_the_volume(tmp_path, name):
    """In a file whose axes run to the right and front, so that rows and columns have to be turned."""
    smooth = np.broadcast_to(np.add.outer(np.arange(240), np.arange(300))[:, :, None], (240, 300, 150))
    ct = Volume.from_source(smooth.astype(np.int16), np.diag([0.8, 0.8, 1.5, 1.0]))
    write_volume(tmp_path / name, ct)
    (peak_mb,) = read_in_child(tmp_path, tmp_path / name)
    assert float(peak_mb) < 1.2 * ct.array.nbytes / 2**20
