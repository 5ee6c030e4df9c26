"""STCN's published state dicts, for several objects or for one, in and out.

Our size `paper` goes out too: a bias before BatchNorm is the same as a smaller running mean, and an attention that
lets nothing through is the same as none. In evaluation, not in training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from flarekit.checkpoints.foreign.matching import fill, renamed, require
from flarekit.config.architecture import STCNConfig
from flarekit.errors import CheckpointError
from flarekit.models import STCN, build

WHAT = "an STCN as its authors save it"
VALUE_INPUT = "value_encoder.conv1.weight"
ATTENTION = "value_encoder.fuser.attention."
CLOSED = -200.0  # a logit whose sigmoid is 0 in float32, twice over
_ENCODERS = (
    (r"^value_encoder\.resnet\.", "value_encoder."),
    (r"^key_encoder\.stage4\.", "key_encoder.res2."),
    (r"^value_encoder\.stage4\.", "value_encoder.layer1."),
    (r"\.stage8\.", ".layer2."),
    (r"\.stage16\.", ".layer3."),
    (r"\.norm(\d)\.", r".bn\1."),
    (r"\.shortcut\.([01])\.", r".downsample.\1."),
)
_REST = (
    (r"^value_encoder\.fuse\.", "value_encoder.fuser.block1."),
    (r"^value_encoder\.refine\.", "value_encoder.fuser.block2."),
    (r"^value_encoder\.attention\.squeeze\.", f"{ATTENTION}ChannelGate.mlp.1."),
    (r"^value_encoder\.attention\.excite\.", f"{ATTENTION}ChannelGate.mlp.3."),
    (r"^value_encoder\.attention\.place\.", f"{ATTENTION}SpatialGate.spatial.conv."),
    (r"^key_projection\.", "key_proj.key_proj."),
    (r"^key_compression\.", "key_comp."),
    (r"^decoder\.fuse\.", "decoder.compress."),
    (r"^decoder\.up8\.", "decoder.up_16_8."),
    (r"^decoder\.up4\.", "decoder.up_8_4."),
    (r"\.skip\.", ".skip_conv."),
    (r"\.block\.", ".out_conv."),
    (r"^decoder\.predict\.", "decoder.pred."),
    (r"\.shortcut\.(weight|bias)", r".downsample.\1"),
)


def from_stcn(state: Mapping[str, Tensor], *, where: Path) -> STCN:
    """A network with the file's biases, attention and inputs. Raises CheckpointError when it is no STCN."""
    names = (VALUE_INPUT, "key_encoder.conv1.weight", "key_comp.weight")
    require(state, dict.fromkeys(names, 4), where=where, what=WHAT)
    config = STCNConfig(
        key_bias="key_encoder.conv1.bias" in state,
        value_attention=any(name.startswith(ATTENTION) for name in state),
        value_others=state[VALUE_INPUT].shape[1] == 5,
    )
    network = build(config)
    fill(network, _with_value_biases(state, network), their_name, where=where, what=WHAT)
    return network


def to_stcn(network: STCN) -> dict[str, Tensor]:
    """The network's tensors as the authors' code loads them. Raises CheckpointError where its sizes are others."""
    config = network.config
    published = replace(config, key_bias=False, value_attention=True)
    if published != STCNConfig(key_bias=False, value_attention=True, value_others=config.value_others):
        raise CheckpointError(
            "its layers have other sizes than STCN's as published", remedy="Only `paper` and `original` fit."
        )
    state = renamed(network, their_name)
    if config.key_bias:
        state = _without_key_biases(state)
    if not config.value_attention:
        state |= _closed_attention(published)
    return state


def their_name(ours: str) -> str:
    """The authors' name of a tensor."""
    encoder = ours.startswith(("key_encoder.", "value_encoder.resnet."))
    for pattern, theirs in _ENCODERS if encoder else _REST:
        ours = re.sub(pattern, theirs, ours)
    return ours


def _with_value_biases(state: Mapping[str, Tensor], network: STCN) -> Mapping[str, Tensor]:
    """Zeros for the value encoder's biases where the file has none at all: torchvision's ResNet has none."""
    if "value_encoder.conv1.bias" in state:
        return state
    own = {f"value_encoder.resnet.{name}": t for name, t in network.value_encoder.resnet.state_dict().items()}
    biases = {their_name(name): torch.zeros_like(t) for name, t in own.items() if _is_conv_bias(name)}
    return {**biases, **state}


def _is_conv_bias(ours: str) -> bool:
    return ours.endswith(".bias") and ".norm" not in ours and not ours.endswith("shortcut.1.bias")


def _without_key_biases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm takes the mean out: a bias less before it is a running mean less in it."""
    kept = dict(state)
    for name in [
        name for name in state if name.startswith("key_encoder.") and re.search(r"(conv\d|downsample\.0)\.bias$", name)
    ]:
        norm = re.sub(r"conv(\d)\.bias$", r"bn\1", name).replace("downsample.0.bias", "downsample.1")
        kept[f"{norm}.running_mean"] = kept[f"{norm}.running_mean"] - kept.pop(name)
    return kept


def _closed_attention(config: STCNConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = build(config).state_dict()
    names = [name for name in shapes if name.startswith("value_encoder.attention.")]
    state = {their_name(name): torch.zeros(shapes[name].shape) for name in names}
    state[f"{ATTENTION}ChannelGate.mlp.3.bias"].fill_(CLOSED)
    return state
