"""Configurations of networks small enough to build and to train within a test."""

from __future__ import annotations

from flarekit.config.architecture import DeepLabConfig, STCNConfig, TransUNetConfig

# Dropout everywhere it can be, so that a resumed run needs the state of its generator.
TRANSUNET = TransUNetConfig(
    grid=4,
    resnet_width=8,
    resnet_units=(1, 1, 1),
    resnet_groups=4,
    hidden=32,
    layers=1,
    heads=2,
    mlp=64,
    dropout=0.1,
    bridge=16,
    decoder=(16, 16, 8, 8),
)
DEEPLAB = DeepLabConfig(
    encoder="mobilenetv3_small_050", encoder_head=False, channels=16, skip_channels=8, rates=(1, 2, 3)
)
STCN = STCNConfig(
    key_block="basic",
    key_units=(1, 1, 1),
    key_width=8,
    value_units=(1, 1, 1),
    value_width=8,
    key_channels=8,
    value_channels=16,
    decoder=(16, 16, 8),
)
