"""Between a native slice and a network's input: sides of different lengths throughout."""

from __future__ import annotations

import pytest
import torch

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.data.grid import NetworkGrid, to_float

NATIVE = PreprocessingConfig(canvas=32, multiple=32)
COARSE = PreprocessingConfig(spacing_mm=2.0, canvas=32, multiple=32)


def test_native_pixels_are_padded_around_the_middle_and_cut_out_again():
    grid = NetworkGrid.of((20, 33), (0.7, 0.9), NATIVE)
    assert grid.resampled == (20, 33) and grid.canvas == (32, 64)
    image = torch.rand(2, 3, 20, 33)
    padded = grid.to_network(image)
    assert padded.shape == (2, 3, 32, 64)
    assert torch.equal(padded[..., 6:26, 15:48], image)
    assert padded.sum() == pytest.approx(image.sum().item())
    assert torch.equal(grid.from_network(padded), image)


def test_each_axis_is_resampled_by_its_own_spacing():
    grid = NetworkGrid.of((20, 30), (1.0, 4.0), COARSE)
    assert grid.resampled == (10, 60) and grid.canvas == (32, 64)


def test_resampling_keeps_a_gradient_in_place():
    grid = NetworkGrid.of((40, 60), (1.0, 0.5), COARSE)  # to 20 x 15
    rows = torch.arange(40.0)[:, None].expand(40, 60)
    coarse = grid.to_network(rows[None, None])[0, 0, 6:26, 8:23]
    assert torch.allclose(coarse[2:-2, 5], torch.arange(20.0)[2:-2] * 2 + 0.5, atol=1e-4)  # centres of pairs of rows
    back = grid.from_network(grid.to_network(rows[None, None]))[0, 0]
    assert torch.allclose(back[6:-6, 10], rows[6:-6, 10], atol=1e-3)


def test_labels_take_the_nearest_class_and_padding_the_one_outside():
    grid = NetworkGrid.of((16, 24), (2.0, 1.0), COARSE)  # to 16 x 12
    classes = torch.zeros(1, 16, 24, dtype=torch.uint8)
    classes[:, 4:8, 10:20] = 7
    network = grid.labels_to_network(classes, outside=255)
    assert network.dtype == torch.uint8 and network.shape == (1, 32, 32)
    assert set(network.unique().tolist()) == {0, 7, 255}
    assert (network[0, 8:24, 10:22] == 7).nonzero().tolist() == [[r, c] for r in range(4, 8) for c in range(5, 10)]
    assert (network == 255).sum() == 32 * 32 - 16 * 12


def test_a_slice_larger_than_the_canvas_takes_the_next_multiple():
    assert NetworkGrid.of((33, 20), (1.0, 1.0), NATIVE).canvas == (64, 32)


def test_greys_become_0_to_1():
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize("fields", [{"spacing_mm": 0.0}, {"spacing_mm": 30.0}, {"canvas": 500}, {"canvas": 16}])
def test_sizes_that_cannot_be_are_refused(fields):
    with pytest.raises(ValueError):
        PreprocessingConfig(**fields)


@pytest.mark.parametrize("native", [(40, 61), (90, 70), (64, 96)])
def test_weights_do_what_from_network_does_for_any_part(native: tuple[int, int]) -> None:
    config = PreprocessingConfig(spacing_mm=2.0, canvas=96)
    grid = NetworkGrid.of(native, (1.5, 2.0) if native != (64, 96) else (2.0, 2.0), config)
    planes = torch.rand(2, *grid.canvas)
    rows, columns = grid.from_network_weights()
    whole = grid.from_network(planes[None])[0]
    torch.testing.assert_close(rows @ planes @ columns.T, whole)
    torch.testing.assert_close(rows[5:9] @ planes @ columns[3:30].T, whole[:, 5:9, 3:30])
