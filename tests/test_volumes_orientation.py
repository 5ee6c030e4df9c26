"""Canonical axes: every orientation of a file's axes, straight and oblique, in memory and through real files."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid, write_labels, write_volume
from flarekit.volumes.orientation import Reorientation

SHAPE = (3, 4, 5)
SPACING_MM = (0.7, 1.1, 2.5)
CANONICAL_RAS = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])  # z superior, h posterior, w left
ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def rotation(angles_deg: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        turn, (a, b) = np.eye(3), [other for other in range(3) if other != axis]
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def affine_of(axes, signs, angles_deg=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Voxel axis i runs along world axis axes[i] with sign signs[i], then everything is rotated."""
    directions = np.zeros((3, 3))
    for voxel_axis, (world_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        directions[world_axis, voxel_axis] = sign * SPACING_MM[voxel_axis]
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles_deg) @ directions
    affine[:3, 3] = (-101.5, 33.25, 780.0)
    return affine.astype(np.float32).astype(np.float64)  # what NIfTI can hold


def numbered() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 20


def assert_canonical(volume: Volume, source: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel keeps its place in the world, and the axes point up, back and left."""
    for z, h, w in np.ndindex(volume.array.shape):
        world = volume.affine @ (z, h, w, 1)
        i, j, k = np.rint(np.linalg.solve(affine, world)).astype(int)[:3]
        np.testing.assert_allclose(affine @ (i, j, k, 1), world, atol=1e-6)
        assert source[i, j, k] == volume.array[z, h, w]
    cosines = CANONICAL_RAS @ (volume.affine[:3, :3] / volume.spacing_mm)
    assert (np.diag(cosines) > 0).all()
    best = max(sum(cosines[row, column] for row, column in enumerate(p)) for p in permutations(range(3)))
    assert np.trace(cosines) == pytest.approx(best)


@pytest.mark.parametrize("angles_deg", [(0.0, 0.0, 0.0), (11.0, -17.0, 23.0)], ids=["straight", "oblique"])
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_a_file_of_any_orientation_is_read_canonically_and_written_back_exactly(tmp_path, axes, signs, angles_deg):
    affine = affine_of(axes, signs, angles_deg)
    source = numbered()
    nibabel.save(nibabel.Nifti1Image(source, affine), tmp_path / "source.nii.gz")

    volume = read_volume(tmp_path / "source.nii.gz")
    assert_canonical(volume, source, affine)
    write_volume(tmp_path / "back.nii.gz", volume)

    back = nibabel.load(tmp_path / "back.nii.gz")
    assert np.array_equal(np.asarray(back.dataobj), source)
    assert np.array_equal(back.affine, affine)
    assert back.get_data_dtype() == np.int16


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::5])
def test_other_formats_keep_voxels_and_places(tmp_path, suffix, axes, signs):
    affine = affine_of(axes, signs, (5.0, 9.0, -14.0))
    volume = Volume.from_source(numbered(), affine)
    write_volume(tmp_path / f"case{suffix}", volume)

    back = read_volume(tmp_path / f"case{suffix}")
    assert np.array_equal(back.to_source_axes(), numbered())
    np.testing.assert_allclose(back.source.affine, affine, atol=1e-5)
    require_same_grid(volume, back)


@settings(max_examples=60, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles_deg=st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_any_rotation_is_canonical_and_goes_back(orientation, angles_deg):
    affine = affine_of(*orientation, angles_deg)
    volume = Volume.from_source(numbered(), affine)
    assert_canonical(volume, numbered(), affine)
    assert np.array_equal(volume.to_source_axes(), numbered())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_sheared_grid_survives(tmp_path, suffix):
    """Tilted gantries give such affines."""
    affine = np.array([[0.8, 0, 0, 1], [0, 0.9, 0.6, 2], [0, 0, 3.0, 4], [0, 0, 0, 1]], dtype=np.float32)
    write_volume(tmp_path / f"tilted{suffix}", Volume.from_source(numbered(), affine))
    back = read_volume(tmp_path / f"tilted{suffix}")
    np.testing.assert_allclose(back.source.affine, affine, atol=1e-6)
    assert np.array_equal(back.to_source_axes(), numbered())


@pytest.mark.parametrize("last", [(0.0, 0.0, 0.0), (1.0, 2.0, 0.0), (1.0, 2.0, 1e-9), (np.nan, 0.0, 1.0), (1e308,) * 3])
def test_axes_that_lie_in_one_plane_or_reach_nowhere_are_refused(last):
    affine = np.eye(4)
    affine[:3, 2] = last
    with pytest.raises(ValueError, match="singular or not finite"):
        Reorientation.from_affine(affine)


def test_the_patients_right_is_on_the_left_of_an_axial_slice():
    """A RAS grid: i grows to the right, j to the front, k up."""
    array = np.zeros(SHAPE, dtype=np.int16)
    array[2, 3, 4] = 1  # right, front, top
    volume = Volume.from_source(array, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert volume.array[4, 0, 0] == 1


def test_labels_return_to_the_grid_of_their_ct(tmp_path):
    affine = affine_of((1, 2, 0), (-1, 1, -1))
    nibabel.save(nibabel.Nifti1Image(numbered(), affine), tmp_path / "ct.nii.gz")
    ct = read_volume(tmp_path / "ct.nii.gz")
    mask = (ct.array > 0).astype(np.uint8) * 7
    write_labels(tmp_path / "mask.nii.gz", ct.like(mask))

    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj), (numbered() > 0) * 7)
    labels = read_labels(tmp_path / "mask.nii.gz")
    assert labels.array.dtype == np.uint8 and np.array_equal(labels.array, mask)
    require_same_grid(ct, labels)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    volume = Volume.from_source(numbered(), np.eye(4))
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    first, second = ((tmp_path / f"{name}.nii.gz").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first[4:8] == bytes(4), "gzip would keep the time of writing here"
