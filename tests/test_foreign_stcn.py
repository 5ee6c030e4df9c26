"""STCN's published weights give the published masks; ours go out under its names and compute the same there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from foreign_propagation import first_mask, frames, propagate
from foreign_weights import fixture, made_up_image, made_up_state, relative_error
from torch import Tensor

from flarekit.checkpoints.foreign.stcn import from_stcn, to_stcn
from flarekit.config.architecture import ARCHITECTURES, STCNConfig
from flarekit.errors import CheckpointError
from flarekit.models import STCN, build, count_parameters

FILE = Path("stcn.pth")
TOLERANCE = 1e-4
PARAMETERS = {"stcn_several": 54_434_180, "stcn_single": 54_431_044}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return made_up_state(fixture("stcn_several")["tensors"])


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> STCN:
    return from_stcn(state, where=FILE).eval().requires_grad_(False)


def errors(network: STCN, name: str) -> dict[str, float]:
    """Relative errors of key, value and logits for an image, an object and the others."""
    published, plane = fixture(name), made_up_image(1, 1, 96, 128)
    image, mask, others = made_up_image(1, 3, 96, 128), (plane > 0.7).float(), (plane < 0.2).float()
    with torch.inference_mode():
        features = network.encode_key(image)
        value = network.encode_value(image, features.f16, mask, others)
        found = {"key": features.key, "value": value, "logits": network.decode(value, features)}
    return {part: relative_error(output, published[part]) for part, output in found.items()}


def test_several_objects_give_the_published_values_and_logits(network: STCN) -> None:
    assert network.config == ARCHITECTURES["original"].stcn
    assert count_parameters(network) == PARAMETERS["stcn_several"]
    assert max(errors(network, "stcn_several").values()) < TOLERANCE


@pytest.mark.slow
def test_a_single_object_gives_the_published_values_and_logits() -> None:
    network = from_stcn(made_up_state(fixture("stcn_single")["tensors"]), where=FILE).eval()

    assert not network.config.value_others
    assert count_parameters(network) == PARAMETERS["stcn_single"]
    assert max(errors(network, "stcn_single").values()) < TOLERANCE


def test_six_frames_are_propagated_as_published(network: STCN) -> None:
    found = propagate(network, frames(), first_mask())

    assert relative_error(found, fixture("stcn_several")["propagation"]) < TOLERANCE


def test_it_goes_back_as_it_came(network: STCN, state: dict[str, Tensor]) -> None:
    back = to_stcn(network)

    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name


def test_the_papers_size_goes_out_and_computes_the_same() -> None:
    torch.manual_seed(0)
    ours = build(STCNConfig()).eval().requires_grad_(False)
    for name, tensor in ours.state_dict().items():  # as if trained: biases and statistics of their own
        if name.endswith(("bias", "running_mean")):
            tensor.uniform_(-0.2, 0.2)
    written = to_stcn(ours)
    theirs = from_stcn(written, where=FILE).eval().requires_grad_(False)
    image, mask = made_up_image(1, 3, 48, 64), torch.ones(1, 1, 48, 64)

    assert written.keys() == fixture("stcn_several")["tensors"].keys()
    for mine, published in zip(ours.encode_key(image), theirs.encode_key(image), strict=True):
        torch.testing.assert_close(mine, published, rtol=1e-4, atol=1e-4)
    f16 = ours.encode_key(image).f16
    mine, published = (net.encode_value(image, f16, mask, 0 * mask) for net in (ours, theirs))
    torch.testing.assert_close(mine, published, rtol=1e-4, atol=1e-4)


def test_a_value_encoder_without_biases_has_zeros(state: dict[str, Tensor], network: STCN) -> None:
    biased = [n for n in state if n.startswith("value_encoder.") and "fuser" not in n and n.endswith("bias")]
    convolutions = [n for n in biased if ".bn" not in n and not n.endswith("downsample.1.bias")]
    without = {name: tensor for name, tensor in state.items() if name not in convolutions}

    found = from_stcn(without, where=FILE)

    assert len(convolutions) == 15
    assert not found.value_encoder.resnet.conv1.bias.any()
    assert torch.equal(found.value_encoder.resnet.conv1.weight, network.value_encoder.resnet.conv1.weight)


def test_other_networks_and_sizes_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="has no value_encoder.conv1.weight"):
        from_stcn({"key_encoder.conv1.weight": torch.zeros(1)}, where=FILE)
    with pytest.raises(CheckpointError, match=r"unexpected \(decoder.extra\)"):
        from_stcn({**state, "decoder.extra": torch.zeros(1)}, where=FILE)
    with pytest.raises(CheckpointError, match="other sizes"):
        to_stcn(build(ARCHITECTURES["lite"].stcn))
