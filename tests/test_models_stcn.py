"""STCN's own: aggregation worked by hand, and that sharing a slice's half among objects changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from flarekit.config.architecture import ARCHITECTURES
from flarekit.models import STCN, KeyFeatures, aggregate, build
from flarekit.models.stcn import Attention, FusionBlock
from flarekit.propagation.step import look, remember

OBJECTS, HEIGHT, WIDTH = 3, 48, 80


@pytest.fixture(scope="module")
def network() -> STCN:
    torch.manual_seed(0)
    network = build(ARCHITECTURES["lite"].stcn).eval().requires_grad_(False)
    torch.nn.init.normal_(network.value_encoder.resnet.conv1.weight[:, -1])  # as if trained on touching objects
    return network


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def test_one_object_of_even_odds_shares_the_pixel_with_the_background() -> None:
    assert aggregate(torch.full((1, 1, 1), 0.5)).flatten().tolist() == pytest.approx([0.5, 0.5])


def test_two_objects_are_weighed_by_their_odds() -> None:
    # Background (1 - 0.8) (1 - 0.5) = 0.1 has odds 1/9; the objects have odds 4 and 1.
    whole = 1 / 9 + 4 + 1

    merged = aggregate(torch.tensor([0.8, 0.5]).reshape(2, 1, 1)).flatten().tolist()

    assert merged == pytest.approx([1 / 9 / whole, 4 / whole, 1 / whole], rel=1e-5)


def test_aggregation_adds_the_background_and_sums_to_one_in_a_batch() -> None:
    own = torch.rand(2, OBJECTS, 4, 5).half()

    merged = aggregate(own)

    assert merged.shape == (2, OBJECTS + 1, 4, 5) and merged.dtype == torch.float32
    torch.testing.assert_close(merged.sum(dim=1), torch.ones(2, 4, 5))


def test_aggregation_of_certain_objects_stays_finite() -> None:
    merged = aggregate(torch.tensor([1.0, 0.0]).reshape(2, 1, 1))

    assert merged.isfinite().all() and merged.argmax(dim=0).item() == 1


def test_features_have_their_strides_and_channels(network: STCN, image: Tensor) -> None:
    features = network.encode_key(image)

    assert features.key.shape == (1, 32, 3, 5)
    assert features.f16_thin.shape == (1, 96, 3, 5)
    assert features.f16.shape[2:] == (3, 5)
    assert features.f8.shape[2:] == (6, 10)
    assert features.f4.shape[2:] == (12, 20)


def test_a_fusion_block_is_a_residual_block_of_both_inputs_joined() -> None:
    torch.manual_seed(0)
    block = FusionBlock(2, 3, 4)
    own, shared = torch.rand(1, 2, 5, 7) - 0.5, torch.rand(1, 3, 5, 7) - 0.5
    joined = torch.cat((own, shared), dim=1)
    expected = block.shortcut(joined) + block.conv2(F.relu(block.conv1(F.relu(joined))))

    torch.testing.assert_close(block(own, block.share(shared)), expected)


def test_objects_of_one_slice_are_encoded_as_if_each_had_its_own_copy(network: STCN, image: Tensor) -> None:
    f16 = network.encode_key(image).f16
    mask, others = torch.rand(2, OBJECTS, 1, HEIGHT, WIDTH)

    together = network.encode_value(image, f16, mask, others)
    apart = torch.cat([network.encode_value(image, f16, mask[[k]], others[[k]]) for k in range(OBJECTS)])

    assert together.shape == (OBJECTS, 96, 3, 5)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_attention_weighs_channels_by_their_mean_and_maximum_and_then_places() -> None:
    attention = Attention(2, reduction=2).requires_grad_(False)
    for parameter in attention.parameters():
        parameter.zero_()
    attention.squeeze.weight[:] = 1  # mean 2 and maximum 4 of channel 0, 0 of channel 1: hidden 2 and 4
    attention.excite.weight[0] = 0.5  # logits 1 + 2 of channel 0, none of channel 1
    attention.place.weight[0, 0, 3, 3] = 1  # a place's logit is its strongest channel
    x = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])

    weighed = 4 * torch.sigmoid(torch.tensor(3.0))
    expected = torch.tensor([[[[0.0, weighed * torch.sigmoid(weighed)]], [[0.0, 0.0]]]])

    torch.testing.assert_close(attention(x), expected)


def test_attention_sees_the_whole_slice_when_a_mask_is_remembered(image: Tensor) -> None:
    original = build(replace(ARCHITECTURES["lite"].stcn, value_attention=True)).eval().requires_grad_(False)
    view, masks = look(original, image, 0), torch.zeros(1, HEIGHT, WIDTH)
    masks[:, 16:32, 32:48] = 1

    around, whole = (remember(view, masks, torch.ones(1).bool(), margin=m, at_once=1) for m in (0, None))

    assert torch.equal(around.value, whole.value)


def test_a_network_for_single_objects_does_not_look_at_others(image: Tensor) -> None:
    single = build(replace(ARCHITECTURES["lite"].stcn, value_others=False)).eval().requires_grad_(False)
    f16, mask = single.encode_key(image).f16, torch.ones(1, 1, HEIGHT, WIDTH)

    assert torch.equal(single.encode_value(image, f16, mask, mask), single.encode_value(image, f16, mask, 0 * mask))


def test_objects_of_one_slice_are_decoded_as_if_each_had_its_own_copy(network: STCN, image: Tensor) -> None:
    features = network.encode_key(image)
    readout = torch.rand(OBJECTS, 96, 3, 5)

    together = network.decode(readout, features)
    copies = KeyFeatures(*(feature.expand(OBJECTS, -1, -1, -1) for feature in features))

    assert together.shape == (OBJECTS, 1, HEIGHT, WIDTH)
    torch.testing.assert_close(together, network.decode(readout, copies), rtol=1e-4, atol=1e-4)
    assert torch.equal(together, network.decode(readout, network.decode_skips(features)))


def test_values_see_the_mask_and_the_other_objects(network: STCN, image: Tensor) -> None:
    f16 = network.encode_key(image).f16
    nothing = torch.zeros(1, 1, HEIGHT, WIDTH)
    something = torch.ones_like(nothing)
    value = network.encode_value(image, f16, nothing, nothing)

    assert not torch.allclose(value, network.encode_value(image, f16, something, nothing))
    assert not torch.allclose(value, network.encode_value(image, f16, nothing, something))
