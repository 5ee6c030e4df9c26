"""One contract for all networks: sizes, shapes, gradients, round trips, determinism, and that they learn."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from flarekit.config.architecture import ARCHITECTURES, CONFIGS, DeepLabConfig, STCNConfig, TransUNetConfig
from flarekit.models import MODELS, STCN, Network, NetworkConfig, build, count_parameters, parameters_by_part
from flarekit.models.flops import step_costs
from flarekit.ops.affinity import read_memory

CLASSES = 5
BATCH, HEIGHT, WIDTH = 3, 64, 96
LITE = ARCHITECTURES["lite"].for_classes(CLASSES)
REFERENCE = {"transunet": LITE.transunet, "deeplabv3plus": LITE.deeplabv3plus}
ORIGINAL = dataclasses.replace(LITE.stcn, key_bias=False, value_attention=True)  # its parts, at a small size
ALL: dict[str, NetworkConfig] = {**REFERENCE, "stcn": LITE.stcn, "stcn original": ORIGINAL}

# Layers kept only because published weights have them.
UNUSED = re.compile(r"encoder\.(conv_head|bn2)\.")
# Offsets that cancel, so that their gradient is rounding noise: taken out again by the BatchNorm that follows, not
# seen by attention's softmax, or the same in both keys of a distance.
CANCELLED = re.compile(
    r"(key_encoder|value_encoder\.resnet)\..*(conv\d|shortcut\.0)\.bias"
    r"|encoder\.blocks\..*bn\d\.bias|attention\.key\.bias|key_projection\.bias"
)


def slices(batch: int = BATCH) -> tuple[Tensor, Tensor, Tensor]:
    """Images of one bright box a class, their classes, and positions."""
    generator = torch.Generator().manual_seed(7)
    classes = torch.zeros(batch, HEIGHT, WIDTH, dtype=torch.long)
    for organ in range(1, CLASSES):
        classes[:, 12 * organ : 12 * organ + 11, 16 * organ : 16 * organ + 14] = organ
    image = classes[:, None] / CLASSES + 0.1 * torch.rand(batch, 3, HEIGHT, WIDTH, generator=generator)
    return image, classes, torch.linspace(0, 1, batch)


def propagate(network: STCN, image: Tensor, mask: Tensor) -> Tensor:
    """Logits (B-1, 1, H, W) of all slices but the first, from the first and its mask (1, 1, H, W)."""
    features = network.encode_key(image)
    value = network.encode_value(image[:1], features.f16[:1], mask, torch.zeros_like(mask))
    key = features.key.flatten(2).transpose(1, 2)
    memory_key, memory_value = key[:1].expand(len(key) - 1, -1, -1), value.flatten(2).transpose(1, 2)[:, None]
    read = read_memory(memory_key, key[1:], memory_value.expand(len(key) - 1, -1, -1, -1))
    readout = read[:, 0].transpose(1, 2).unflatten(2, value.shape[-2:])
    return network.decode(readout, type(features)(*(feature[1:] for feature in features)))


def loss_of(network: Network) -> Callable[[], Tensor]:
    """A training loss of any of the networks on fixed slices."""
    image, classes, position = slices()
    if isinstance(network, STCN):
        target = (classes[:, None] == 2).float()
        return lambda: F.binary_cross_entropy_with_logits(propagate(network, image, target[:1]), target[1:])
    return lambda: F.cross_entropy(network(image, position), classes)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("transunet", {"transformer": 98_524_480, "decoder": 7_387_200, "head": 2_156}),
        ("deeplabv3plus", {"encoder": 10_696_232, "decoder": 983_696, "head": 3_598}),
        (
            "stcn",
            {
                "key encoder": 8_558_592,
                "value encoder": 21_668_224,
                "key projection": 589_888,
                "key compression": 4_719_104,
                "decoder": 18_880_257,
            },
        ),
    ],
)
def test_the_paper_size_has_the_papers_parameters_part_by_part(name: str, parts: dict[str, int]) -> None:
    with torch.device("meta"):
        network = build(getattr(ARCHITECTURES["paper"], name))

    assert parameters_by_part(network) == parts
    assert count_parameters(network) == sum(parts.values())


def test_the_paper_pair_has_the_papers_total() -> None:
    with torch.device("meta"):
        pair = build(ARCHITECTURES["paper"].transunet), build(ARCHITECTURES["paper"].deeplabv3plus)

    assert sum(map(count_parameters, pair)) == 117_597_362


@pytest.mark.parametrize(("several", "parameters"), [(True, 54_434_180), (False, 54_431_044)])
def test_the_original_stcn_has_the_published_networks_parameters(several: bool, parameters: int) -> None:
    with torch.device("meta"):
        network = build(dataclasses.replace(ARCHITECTURES["original"].stcn, value_others=several))

    assert count_parameters(network) == parameters


def test_paper_size_stcn_costs_what_its_layers_add_up_to() -> None:
    with torch.device("meta"):
        network = build(STCNConfig())
    costs = {cost.step: cost.gmacs for cost in step_costs(network, 512, 512)}

    skip8, skip4 = 512 * 512 * 9 * 64**2, 256 * 256 * 9 * 128**2
    fusion_half = 2 * 512 * 512 * 9 * 32**2
    assert costs["decoder, shared by objects"] == pytest.approx((skip8 + skip4 + fusion_half) / 1e9)
    assert costs["key"] == pytest.approx(22.6, abs=0.1)
    assert costs["value, shared by objects"] + costs["value, each object"] == pytest.approx(27.1, abs=0.1)
    assert costs["decoder, shared by objects"] + costs["decoder, each object"] == pytest.approx(62.9, abs=0.1)


@pytest.mark.parametrize("name", ALL)
def test_costs_leave_the_network_where_it_is_and_double_into_flops(name: str) -> None:
    network = build(ALL[name])
    cost = step_costs(network, HEIGHT, WIDTH)[0]

    assert cost.gflops == 2 * cost.gmacs > 0
    assert network.training and all(parameter.device.type == "cpu" for parameter in network.parameters())


@pytest.mark.parametrize("name", ALL)
def test_parts_hold_every_parameter_once(name: str) -> None:
    network = build(ALL[name])

    assert sum(parameters_by_part(network).values()) == count_parameters(network)
    assert type(network) is MODELS[name.split()[0]] and type(ALL[name]) is CONFIGS[name.split()[0]]


def test_only_network_configurations_are_built() -> None:
    with pytest.raises(TypeError, match="Architecture"):
        build(LITE)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_logits_have_a_channel_a_class_and_the_inputs_size(name: str) -> None:
    image, _, position = slices()

    logits = build(REFERENCE[name])(image, position)

    assert logits.shape == (BATCH, CLASSES, HEIGHT, WIDTH)
    assert logits.dtype == torch.float32 and logits.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_sides_that_the_strides_do_not_divide_are_refused(name: str) -> None:
    network = build(ALL[name])
    call = network.encode_key if isinstance(network, STCN) else lambda image: network(image, torch.zeros(1))

    with pytest.raises(ValueError, match="64 x 88"):
        call(torch.zeros(1, 3, 64, 88))


@pytest.mark.parametrize("config", [*ALL.values(), DeepLabConfig(encoder="efficientnet_b0", channels=32)])
def test_every_parameter_gets_a_gradient_but_those_named(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = build(config)
    loss_of(network)().backward()

    for name, parameter in network.named_parameters():
        if UNUSED.search(name):
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert CANCELLED.search(name) or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", ALL)
def test_weights_come_back_from_a_file_exactly(name: str, tmp_path: Path) -> None:
    network, other = build(ALL[name]), build(ALL[name])
    loss_of(network)()  # moves the running statistics
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)

    with torch.inference_mode():
        network.eval(), other.eval()
        assert torch.equal(loss_of(network)(), loss_of(other)())


@pytest.mark.parametrize("name", ALL)
def test_evaluation_is_deterministic_and_does_not_mix_slices(name: str) -> None:
    network = build(ALL[name]).eval()
    image, _, position = slices()
    run = network.encode_key if isinstance(network, STCN) else network

    def features(chosen: slice) -> Tensor:
        arguments = (image[chosen],) if isinstance(network, STCN) else (image[chosen], position[chosen])
        result = run(*arguments)
        return result.f16_thin if isinstance(network, STCN) else result

    with torch.inference_mode():
        whole = features(slice(None))
        assert torch.equal(whole, features(slice(None)))
        torch.testing.assert_close(whole[1:2], features(slice(1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_few_steps_overfit_one_batch(name: str) -> None:
    torch.manual_seed(0)
    network = build(ALL[name])
    loss = loss_of(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    first = loss().item()
    for _ in range(20):
        optimiser.zero_grad()
        step = loss()
        step.backward()
        optimiser.step()

    assert step.item() < 0.5 * first


@pytest.mark.parametrize("name", ALL)
def test_networks_run_in_channels_last(name: str) -> None:
    network = build(ALL[name]).eval()
    loss = loss_of(network)
    with torch.inference_mode():
        expected = loss()
        network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(loss(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["transunet", "deeplabv3plus"])
def test_the_paper_size_segments_a_slice(name: str) -> None:
    network: nn.Module = build(getattr(ARCHITECTURES["paper"], name)).eval()
    with torch.inference_mode():
        logits = network(torch.rand(1, 3, 256, 288), torch.rand(1))

    assert logits.shape == (1, 14, 256, 288) and logits.isfinite().all()


def test_the_paper_size_propagates_a_mask() -> None:
    network = build(STCNConfig()).eval()
    with torch.inference_mode():
        logits = propagate(network, torch.rand(2, 3, 128, 160), torch.ones(1, 1, 128, 160))

    assert logits.shape == (1, 1, 128, 160) and logits.isfinite().all()


def test_transunet_sees_where_in_the_volume_a_slice_lies() -> None:
    network = build(LITE.transunet).eval()
    image = slices(1)[0]
    with torch.inference_mode():
        low, high = network(image, torch.zeros(1)), network(image, torch.ones(1))

    assert not torch.equal(low, high)


def test_transunet_uses_its_position_embeddings_as_learned_on_its_own_grid() -> None:
    network = build(dataclasses.replace(LITE.transunet, grid=4)).transformer

    assert network._positions_for(torch.Size((4, 4))) is network.positions
    assert network._positions_for(torch.Size((4, 6))).shape == (1, LITE.transunet.hidden, 4, 6)


def test_standardised_filters_ignore_scale_and_offset_of_their_weights() -> None:
    conv = build(TransUNetConfig(grid=2, layers=1)).transformer.resnet.root[0]
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        expected = conv(image)
        conv.weight.mul_(3).add_(2)
        torch.testing.assert_close(conv(image), expected, rtol=1e-3, atol=1e-3)


def test_deeplab_encoders_stay_at_stride_16() -> None:
    for name in ("mobilenetv3_small_100", "efficientnet_b0"):
        encoder = build(DeepLabConfig(encoder=name, channels=16)).encoder
        f4, f16 = encoder.eval()(torch.zeros(1, 3, 64, 96))

        assert f4.shape == (1, encoder.low_channels, 16, 24)
        assert f16.shape == (1, encoder.channels, 4, 6)


@pytest.mark.parametrize("encoder", ["resnet18", "no_such_network"])
def test_encoders_of_another_kind_are_refused_by_name(encoder: str) -> None:
    with pytest.raises(ValueError, match=encoder):
        build(DeepLabConfig(encoder=encoder))
