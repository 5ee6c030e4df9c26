"""The slices of a volume in memory, as a network sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.data.slices import VolumeSlices, slice_position
from flarekit.data.windows import window_slices
from flarekit.volumes import Volume

CONFIG = PreprocessingConfig(canvas=32, multiple=32)
HU = np.random.default_rng(0).integers(-1000, 1000, (5, 20, 30)).astype(np.int16)


def volume() -> Volume:
    """A file whose axes are (k, j, i) reversed, so that canonical arrays are flipped views."""
    affine = np.array([[0, 0, 0.9, 0], [0, 0.8, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1.0]])
    return Volume.from_source(np.ascontiguousarray(HU[:, ::-1, ::-1]), affine)


def test_slices_are_windowed_and_laid_on_the_canvas():
    slices = VolumeSlices(volume(), CONFIG)
    assert len(slices) == 5 and slices.grid.canvas == (32, 32)
    images = slices.images([3, 0])
    assert images.shape == (2, 3, 32, 32) and images.dtype == torch.float32
    expected = window_slices(torch.from_numpy(HU[[3, 0]]), CONFIG.windows).float() / 255
    assert torch.equal(images[:, :, 6:26, 1:31], expected)


def test_positions_run_from_the_lowest_slice_to_the_highest():
    assert VolumeSlices(volume(), CONFIG).positions([0, 1, 4]).tolist() == [0.0, 0.25, 1.0]
    assert slice_position(0, 1) == pytest.approx(0.5)


def test_slices_are_normalised_where_the_preprocessing_says_so():
    plain = VolumeSlices(volume(), CONFIG).images([1])
    network = VolumeSlices(volume(), replace(CONFIG, normalisation="imagenet")).images([1])
    torch.testing.assert_close(network[:, 1] * 0.224 + 0.456, plain[:, 1])
    assert network.min() < 0
