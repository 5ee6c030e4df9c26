"""Maps in 0..1: a byte a voxel on the disk, fractions for whoever reads them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from segmentation_doubles import painted_volume

from flarekit.errors import OutputError
from flarekit.volumes import write_map
from flarekit.volumes.maps import in_steps


@pytest.fixture
def fractions() -> np.ndarray:
    """Values in 0..1, both ends included, on the painted volume's grid."""
    shape = painted_volume().array.shape
    return np.linspace(0, 1, np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("name", ["map.nii.gz", "map.nii"])
def test_a_reader_gets_the_fractions_back_on_the_sources_grid(fractions, tmp_path, name):
    volume = painted_volume()
    write_map(tmp_path / name, volume.like(fractions))
    image = nib.load(tmp_path / name)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, volume.source.affine, atol=1e-5)
    expected = volume.like(fractions).to_source_axes()
    np.testing.assert_allclose(image.get_fdata(), expected, atol=0.5 / 255 + 1e-6)
    assert image.get_fdata().min() == 0 and image.get_fdata().max() == pytest.approx(1)


def test_bytes_are_taken_as_steps_so_that_no_float_volume_is_needed(fractions, tmp_path):
    volume = painted_volume()
    write_map(tmp_path / "floats.nii.gz", volume.like(fractions))
    write_map(tmp_path / "bytes.nii.gz", volume.like(in_steps(fractions)))
    assert (tmp_path / "floats.nii.gz").read_bytes() == (tmp_path / "bytes.nii.gz").read_bytes()


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.nan])
def test_a_number_outside_0_to_1_is_a_mistake(fractions, tmp_path, wrong):
    fractions[1, 2, 3] = wrong
    with pytest.raises(ValueError, match="in 0..1"):
        write_map(tmp_path / "map.nii.gz", painted_volume().like(fractions))
    assert list(tmp_path.iterdir()) == []


def test_a_format_without_scaling_and_an_existing_file_are_refused(fractions, tmp_path):
    volume = painted_volume().like(fractions)
    with pytest.raises(OutputError, match="ending"):
        write_map(tmp_path / "map.nrrd", volume)
    write_map(tmp_path / "map.nii.gz", volume)
    with pytest.raises(OutputError, match="exists already"):
        write_map(tmp_path / "map.nii.gz", volume)
    write_map(tmp_path / "map.nii.gz", volume, overwrite=True)
