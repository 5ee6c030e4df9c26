"""Weights channels last where a CPU runs the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_networks
import torch

from flarekit.checkpoints.weights import write_weights
from flarekit.models import build
from flarekit.models.layout import laid_out_for


@pytest.mark.parametrize("config", [tiny_networks.TRANSUNET, tiny_networks.DEEPLAB], ids=["transunet", "deeplab"])
def test_a_network_laid_out_for_a_cpu_answers_as_before(config) -> None:
    torch.manual_seed(0)
    network, image, position = build(config).eval(), torch.rand(2, 3, 64, 96), torch.rand(2)
    with torch.inference_mode():
        before = network(image, position)
        laid_out = laid_out_for(network, torch.device("cpu"))
        torch.testing.assert_close(laid_out(image, position), before, rtol=1e-3, atol=1e-3)
    wide = [weight for weight in laid_out.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
    assert wide and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)


def test_what_is_stored_of_a_laid_out_network_is_what_would_have_been(tmp_path: Path) -> None:
    network = build(tiny_networks.DEEPLAB)
    write_weights(tmp_path / "before", {"deeplab": network}, half=False)
    write_weights(tmp_path / "after", {"deeplab": laid_out_for(network, torch.device("cpu"))}, half=False)
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


def test_elsewhere_weights_stay_as_they_are() -> None:
    network = build(tiny_networks.STCN)
    assert laid_out_for(network, torch.device("cuda")) is network
    assert all(weight.is_contiguous() for weight in network.parameters())
