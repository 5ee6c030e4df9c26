"""There and back through every format: voxels bit by bit, places within what the format can hold."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat

from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid, write_labels, write_volume
from flarekit.volumes.reading import read_stored

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
ORIENTATIONS = [
    np.eye(3)[list(axes)] * signs for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
SHAPES = [shape for shape in product((1, 2, 3, 5, 8), repeat=3) if len(set(shape)) == 3]  # swapped axes would show


@dataclass(frozen=True)
class Grid:
    """A shape and the affine of a file's own axes."""

    shape: tuple[int, int, int]
    affine: np.ndarray


@st.composite
def grids(draw) -> Grid:
    """Any orientation, straight or oblique, any spacing, anywhere within two metres of the origin."""
    angles = draw(st.sampled_from([(0.0, 0.0, 0.0), (0.3, -0.2, 0.1)]) | st.tuples(*[st.floats(-3.1, 3.1)] * 3))
    spacing_mm = draw(st.tuples(*[st.floats(0.3, 10.0)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*angles) @ draw(st.sampled_from(ORIENTATIONS)) * spacing_mm
    affine[:3, 3] = draw(st.tuples(*[st.floats(-2000.0, 2000.0)] * 3))
    return Grid(draw(st.sampled_from(SHAPES)), affine)


def noise(shape, dtype, seed) -> np.ndarray:
    """Every bit pattern of an integer type; numbers of a float type."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None)
@given(grid=grids(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 999))
def test_voxels_come_back_bit_by_bit_and_where_they_were(suffix, grid, dtype, seed):
    array = noise(grid.shape, dtype, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"ct{suffix}"
        written = Volume.from_source(array, grid.affine)
        write_volume(path, written)
        back, raw = read_stored(path)
        assert raw.array.dtype == array.dtype and not raw.is_scaled
        assert back.to_source_axes().tobytes() == array.tobytes()
        np.testing.assert_allclose(back.source.affine, grid.affine, rtol=1e-6, atol=2e-4)
        require_same_grid(written, back)
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T.tobytes() == array.tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=20, deadline=None)
@given(grid=grids(), highest=st.sampled_from([1, 255, 256, 65535]), seed=st.integers(0, 999))
def test_label_maps_come_back_with_their_ids(suffix, grid, highest, seed):
    ids = np.random.default_rng(seed).integers(0, highest + 1, grid.shape)
    volume = Volume.from_source(ids.astype(np.uint8 if highest < 256 else np.int32), grid.affine)
    with tempfile.TemporaryDirectory() as folder:
        write_labels(Path(folder) / f"mask{suffix}", volume)
        back = read_labels(Path(folder) / f"mask{suffix}")
    assert back.array.flags.c_contiguous and np.array_equal(back.array, volume.array)
    require_same_grid(volume, back)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(grid=grids(), seed=st.integers(0, 999))
def test_hu_come_back_contiguous_in_every_orientation(suffix, grid, seed):
    """An int16 volume is turned in the memory that it was read into."""
    volume = Volume.from_source(noise(grid.shape, "i2", seed), grid.affine)
    with tempfile.TemporaryDirectory() as folder:
        write_volume(Path(folder) / f"ct{suffix}", volume)
        back = read_volume(Path(folder) / f"ct{suffix}", hu_offset=0)
    assert back.array.dtype == np.int16 and back.array.flags.c_contiguous and back.array.flags.writeable
    assert np.array_equal(back.array, volume.array)
