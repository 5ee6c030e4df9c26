"""The encoders that are built without timm, against timm's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from flarekit.config.architecture import ARCHITECTURES
from flarekit.models.deeplabv3plus import DeepLabV3Plus
from flarekit.models.mobile import NETWORKS, Trunk

LEFT_OUT = ("classifier.",)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_trunk_is_laid_out_as_timm_s_network(name: str) -> None:
    with torch.device("meta"):
        own, theirs = Trunk(name), timm.create_model(name, pretrained=False)
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items() if not key.startswith(LEFT_OUT)}
    assert {key: tensor.shape for key, tensor in own.state_dict().items()} == shapes
    parts = ("module", "num_chs", "reduction")
    last = [{part: level[part] for part in parts} for level in theirs.feature_info if level["reduction"] >= 4]
    assert [level for level in own.feature_info if level["reduction"] >= 4] == last


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobilenetv3_large_100", "efficientnet_b1"])
def test_with_timm_s_weights_a_trunk_gives_timm_s_features(name: str) -> None:
    torch.manual_seed(0)
    own, theirs = Trunk(name).eval(), timm.create_model(name, pretrained=False).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # as in a trained network: nothing is normal already
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    own.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith(LEFT_OUT)})
    image = torch.rand(2, 3, 96, 64)
    with torch.inference_mode():
        x, y = own.bn1(own.conv_stem(image)), theirs.bn1(theirs.conv_stem(image))
        for ours, stage in zip(own.blocks, theirs.blocks, strict=True):
            x, y = ours(x), stage(y)
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


def test_random_weights_are_drawn_as_timm_draws_them() -> None:
    torch.manual_seed(0)
    own, theirs = Trunk("efficientnet_b0").state_dict(), timm.create_model("efficientnet_b0").state_dict()
    for name in ("blocks.5.1.conv_pw.weight", "blocks.5.1.conv_dw.weight", "conv_head.weight"):
        assert own[name].std().item() == pytest.approx(theirs[name].std().item(), rel=0.05)


def test_the_encoders_of_presets_need_neither_timm_nor_torchvision() -> None:
    assert {architecture.deeplabv3plus.encoder for architecture in ARCHITECTURES.values()} <= set(NETWORKS)
    code = "import sys, flarekit.checkpoints; from flarekit.config.architecture import ARCHITECTURES as A"
    code += "; flarekit.models.build(A['lite'].deeplabv3plus)"
    code += "; sys.exit(' '.join({'timm', 'torchvision'} & {*sys.modules}) or 0)"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_encoder_that_only_timm_knows_is_timm_s() -> None:
    config = replace(ARCHITECTURES["lite"].deeplabv3plus, encoder="tf_mobilenetv3_small_minimal_100")
    assert type(DeepLabV3Plus(config).encoder.blocks[0][0]).__module__.startswith("timm.")
