"""Winograd's convolution against the plain one, and when the networks take it."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from flarekit.models import convolution
from flarekit.models.convolution import Conv3x3
from flarekit.ops import winograd
from flarekit.ops.winograd import transformed_weight, winograd_conv3x3


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_a_single_pixel_spreads_its_weights() -> None:
    x, weight = torch.zeros(1, 1, 5, 6), torch.arange(9.0).view(1, 1, 3, 3)
    x[0, 0, 2, 4] = 1
    y = winograd_conv3x3(x, transformed_weight(weight), torch.tensor([10.0]))
    expected = torch.full((1, 1, 5, 6), 10.0)
    expected[0, 0, 1:4, 3:6] += weight[0, 0].flip(0, 1)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 4), (13, 6)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_any_size_equals_the_plain_convolution(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], channels_last: bool
) -> None:
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", 4)  # the three images are taken in turns
    x, weight, bias = drawn(3, 5, *size), drawn(7, 5, 3, 3), drawn(7)
    laid = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    y = winograd_conv3x3(laid, transformed_weight(weight), bias)
    torch.testing.assert_close(y, F.conv2d(x, weight, bias, padding=1), rtol=1e-4, atol=1e-4)


def test_the_error_is_that_of_float32() -> None:
    x, weight = drawn(1, 128, 16, 20), drawn(32, 128, 3, 3) / 34
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    y = winograd_conv3x3(x, transformed_weight(weight), None)
    assert (y - exact).norm() / exact.norm() < 1e-5


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of inputs that were convolved Winograd's way, by layers of any width."""
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 1)
    shapes: list[torch.Size] = []

    def watched(x: Tensor, *given: Tensor | None) -> Tensor:
        shapes.append(x.shape)
        return winograd_conv3x3(x, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(convolution, "winograd_conv3x3", watched)
    return shapes


def test_a_layer_is_the_plain_one_whole_and_in_parts(taken: list[torch.Size]) -> None:
    layer, x = Conv3x3(6, 4), drawn(2, 6, 9, 5)
    plain = F.conv2d(x, layer.weight, layer.bias, padding=1)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain, rtol=1e-4, atol=1e-5)
        parts = layer.of_inputs(x[:, :2], 0, bias=False) + layer.of_inputs(x[:, 2:], 2, bias=True)
    torch.testing.assert_close(parts, plain, rtol=1e-4, atol=1e-5)
    assert [shape[1] for shape in taken] == [6, 2, 4]


def test_a_changed_weight_is_transformed_anew(taken: list[torch.Size]) -> None:
    layer, x = Conv3x3(2, 3), drawn(1, 2, 4, 8)
    with torch.no_grad():
        layer(x)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), rtol=1e-4, atol=1e-5)
        layer.load_state_dict(Conv3x3(2, 3).state_dict(), assign=True)
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), rtol=1e-4, atol=1e-5)
    assert len(taken) == 3


@torch.no_grad()
def test_a_new_weight_is_seen_even_where_the_old_one_lay(taken: list[torch.Size]) -> None:
    layer, x = Conv3x3(128, 128), drawn(1, 128, 4, 8)
    wrong = 0
    for turn in range(8):
        layer.load_state_dict({name: torch.randn_like(old) for name, old in layer.state_dict().items()}, assign=True)
        if turn % 2:  # a weight that is never used gives its place in memory to the next one
            wrong += not torch.allclose(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), atol=0.01)
    assert taken and not wrong


@torch.no_grad()
def test_a_rounded_weight_is_transformed_anew(taken: list[torch.Size]) -> None:
    layer, x = Conv3x3(32, 16), drawn(1, 32, 4, 8)
    layer(x)
    layer.bfloat16().float()
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), rtol=1e-4, atol=1e-5)
    layer.to("meta")
    assert len(taken) == 2 and not layer._transformed


@torch.no_grad()
def test_copies_and_files_hold_no_transformed_weights(taken: list[torch.Size]) -> None:
    layer, x = Conv3x3(2, 3), drawn(1, 2, 4, 8)
    expected, file = layer(x), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert not other._transformed and torch.equal(other(x), expected)
    assert layer._transformed and set(layer.state_dict()) == {"weight", "bias"}


@torch.no_grad()
def test_no_images_give_none_and_channels_have_to_fit(taken: list[torch.Size]) -> None:
    layer = Conv3x3(6, 4)
    assert layer(torch.zeros(0, 6, 9, 5)).shape == (0, 4, 9, 5)
    for channels in (5, 7):
        with pytest.raises(RuntimeError):
            layer(drawn(1, channels, 9, 5))


def test_gradients_other_precisions_and_narrow_layers_have_the_plain_way(
    taken: list[torch.Size], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = Conv3x3(2, 3), drawn(1, 2, 4, 8)
    layer(x).sum().backward()
    with torch.inference_mode():
        Conv3x3(2, 3)(x)  # its weight does not count its changes
    with torch.no_grad():
        copy.deepcopy(layer).bfloat16()(x.bfloat16())
        copy.deepcopy(layer).to("meta")(x.to("meta"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x)
        monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 3)
        layer(x)
    assert layer.weight.grad is not None and not taken
