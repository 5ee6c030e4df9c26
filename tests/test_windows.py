"""Windows: the paper's ranges, mapped linearly to 0..255."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flarekit.config.preprocessing import WINDOWS, WindowPreset, union, window_range
from flarekit.data.windows import window_array, window_slices, window_tensor


def test_the_papers_ranges_are_unions_of_its_windows():
    assert WINDOWS["paper"].ranges_hu == ((-150.0, 250.0), (-1350.0, 225.0), (-500.0, 1300.0))
    assert window_range(50, 400) == (-150, 250)
    assert union((-5, 3), (-1, 9)) == (-5, 9)


def test_a_range_ends_at_0_and_255_and_is_linear_between():
    preset = WindowPreset(name="one", ranges_hu=((-100.0, 410.0),))  # 2 HU a grey value
    hu = torch.tensor([[-3024, -100, -98, 0, 408, 410, 3071]], dtype=torch.int16)
    assert window_slices(hu, preset)[0, 0].tolist() == [0, 0, 1, 50, 254, 255, 255]


def test_channels_come_before_rows_and_columns():
    hu = torch.zeros(2, 4, 5, dtype=torch.int16)
    hu[1, 2, 3] = 200
    image = window_slices(hu, WINDOWS["paper"])
    assert image.shape == (2, 3, 4, 5) and image.dtype == torch.uint8
    assert image[0, :, 0, 0].tolist() == [96, 219, 71]  # (0 - low) * 255 / (high - low), rounded
    assert image[1, :, 2, 3].tolist() == [223, 251, 99]


def test_without_windows_every_channel_is_the_same_wide_range():
    hu = torch.tensor([[-1024, 3071]], dtype=torch.int16)
    image = window_slices(hu, WINDOWS["none"])
    assert image[:, 0].tolist() == [[0, 255]] * 3


@pytest.mark.parametrize("ranges", [(), ((3.0, 3.0),), ((3.0, 1.0),)])
def test_a_window_that_shows_nothing_is_refused(ranges):
    with pytest.raises(ValueError):
        WindowPreset(name="wrong", ranges_hu=ranges)


@pytest.mark.parametrize("preset", WINDOWS.values(), ids=WINDOWS)
def test_arrays_and_tensors_of_every_device_are_windowed_alike(preset):
    every_hu = np.arange(-32768, 32768).astype(np.int16).reshape(2, 128, 256)
    assert np.array_equal(window_array(every_hu, preset), window_tensor(torch.from_numpy(every_hu), preset).numpy())
