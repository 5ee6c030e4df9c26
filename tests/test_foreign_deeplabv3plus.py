"""segmentation_models.pytorch's DeepLabV3+ weights give the published logits in both EfficientNets, and go back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign_weights import fixture, made_up_image, made_up_state, relative_error

from flarekit.checkpoints.foreign.deeplabv3plus import VARIANTS, from_smp, package_encoder, to_smp
from flarekit.config.architecture import ARCHITECTURES, DeepLabConfig
from flarekit.errors import CheckpointError
from flarekit.models import DeepLabV3Plus, build

FILE = Path("weights.pth")
TOLERANCE = 1e-5


def imported(encoder: str) -> tuple[DeepLabV3Plus, dict[str, torch.Tensor]]:
    state = made_up_state(fixture(f"deeplab_{encoder}")["tensors"])
    return from_smp(state, where=FILE).eval().requires_grad_(False), state


def logits_error(network: DeepLabV3Plus, encoder: str, height: int, width: int) -> float:
    with torch.inference_mode():
        logits = network(made_up_image(1, 3, height, width))
    return relative_error(logits, fixture(f"deeplab_{encoder}")["logits"][f"{height}x{width}"])


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "efficientnet-b3", "timm-efficientnet-b3"])
def test_weights_give_the_published_logits_and_go_back(encoder: str) -> None:
    network, state = imported(encoder)

    assert logits_error(network, encoder, 96, 160) < TOLERANCE
    back = to_smp(network)
    assert back.keys() == state.keys() and package_encoder(network.config) == encoder
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["efficientnet-b3", "timm-efficientnet-b3"])
def test_large_and_non_square_slices_give_the_published_logits(encoder: str) -> None:
    network, _ = imported(encoder)

    assert logits_error(network, encoder, 512, 512) < TOLERANCE
    assert logits_error(network, encoder, 320, 384) < TOLERANCE


def test_the_packages_own_padding_and_epsilon_matter() -> None:
    network, _ = imported("efficientnet-b3")
    even = build(replace(network.config, same_padding_for=None)).eval()
    even.load_state_dict(network.state_dict())
    usual = build(replace(network.config, norm_epsilon=1e-5)).eval()
    usual.load_state_dict(network.state_dict())

    assert logits_error(even, "efficientnet-b3", 96, 160) > 100 * TOLERANCE
    assert logits_error(usual, "efficientnet-b3", 96, 160) > 10 * TOLERANCE


def test_padding_is_what_the_designed_image_needs() -> None:
    # 300 px, stride 2: 150 -> 75 -> 38 -> 19. One row is missing for 3 px filters, but at 75 px four for 5 px.
    network = build(DeepLabConfig(same_padding_for=300))
    margins = [module.margins for module in network.encoder.modules() if hasattr(module, "margins")]

    assert margins == [(0, 1, 0, 1), (0, 1, 0, 1), (2, 2, 2, 2), (0, 1, 0, 1)]


@pytest.mark.parametrize("size", VARIANTS)
def test_every_efficientnet_is_told_by_its_blocks_and_features(size: str) -> None:
    with torch.device("meta"):
        encoder = build(DeepLabConfig(encoder=f"efficientnet_{size}")).encoder

    assert sum(map(len, encoder.blocks)) == VARIANTS[size].blocks
    assert len(encoder.conv_head.weight) == VARIANTS[size].features


def test_the_papers_size_goes_out_as_timms_encoder_and_the_small_one_not_at_all() -> None:
    assert package_encoder(ARCHITECTURES["paper"].deeplabv3plus) == "timm-efficientnet-b3"
    with pytest.raises(CheckpointError, match="mobilenetv3_small_100"):
        package_encoder(ARCHITECTURES["lite"].deeplabv3plus)


def test_other_encoders_and_missing_tensors_are_named() -> None:
    _, state = imported("efficientnet-b0")
    lost = {name: tensor for name, tensor in state.items() if not name.startswith("encoder._blocks.3._bn2")}
    deeper = {**state, "encoder._blocks.16._bn2.weight": torch.zeros(3)}

    with pytest.raises(CheckpointError, match=r"4 missing \(encoder._blocks.3._bn2.bias"):
        from_smp(lost, where=FILE)
    with pytest.raises(CheckpointError, match="17 blocks and 1280 features"):
        from_smp(deeper, where=FILE)
    with pytest.raises(CheckpointError, match="has no encoder.conv_head.weight.*but encoder.layer1.0"):
        from_smp({"encoder.layer1.0.conv1.weight": torch.zeros(3)}, where=FILE)


@pytest.mark.parametrize("dilated_from", [8, 12])
def test_dilation_starts_within_stride_16(dilated_from: int) -> None:
    with pytest.raises(ValueError, match=f"9..11 for efficientnet_b0, got {dilated_from}"):
        build(DeepLabConfig(encoder="efficientnet_b0", dilated_from=dilated_from))
