"""TransUNet's own state dicts (the authors' release), in and out.

The release has no channel for the slice's position: its weights are zero here when imported, and have to be for an
export.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from flarekit.checkpoints.foreign.matching import count, fill, renamed, require
from flarekit.config.architecture import TransUNetConfig
from flarekit.errors import CheckpointError
from flarekit.models import TransUNet, build

STRIDE = 16  # of the tokens
WHAT = "a TransUNet with a ResNet (R50-ViT), as its authors save it"
POSITIONS = "transformer.embeddings.position_embeddings"
HEAD = "segmentation_head.0.weight"
HEAD_WIDTH = 64  # channels of an attention head in every ViT: heads themselves leave no trace in the weights
_STAGES = {"stage4": "block1", "stage8": "block2", "stage16": "block3"}
_RESNET = "transformer.embeddings.hybrid_model."
_RENAMES = (
    (r"^transformer\.embedding\.", "transformer.embeddings.patch_embeddings."),
    (r"^transformer\.positions$", POSITIONS),
    (r"^transformer\.layers\.", "transformer.encoder.layer."),
    (r"^transformer\.norm\.", "transformer.encoder.encoder_norm."),
    (r"\.attention\.", ".attn."),
    (r"\.mlp_norm\.", ".ffn_norm."),
    (r"\.mlp\.0\.", ".ffn.fc1."),
    (r"\.mlp\.3\.", ".ffn.fc2."),
    (r"^decoder\.bridge\.", "decoder.conv_more."),
    (r"^head\.", "segmentation_head.0."),
)


def from_transunet(state: Mapping[str, Tensor], *, where: Path) -> TransUNet:
    """A network of the file's own sizes and classes. Raises CheckpointError when it is no such TransUNet."""
    require(state, {POSITIONS: 3, HEAD: 4, f"{_RESNET}root.conv.weight": 4}, where=where, what=WHAT)
    config = _sizes(state, where)
    positions = state[POSITIONS].transpose(1, 2).unflatten(2, (config.grid, config.grid))
    head = nn.functional.pad(state[HEAD], (0, 0, 0, 0, 0, 1))
    network = build(config)
    fill(network, {**state, POSITIONS: positions, HEAD: head}, their_name, where=where, what=WHAT)
    return network


def to_transunet(network: TransUNet) -> dict[str, Tensor]:
    """The network's tensors as the release names and shapes them.

    Raises CheckpointError when its head looks at the slice's position, which the release does not know.
    """
    state = renamed(network, their_name)
    if state[HEAD][:, -1].any():
        raise CheckpointError(
            "its head looks at the slice's position, and TransUNet's own network has no channel for it",
            remedy="Only a TransUNet that was imported and not trained since can go back.",
        )
    state[HEAD] = state[HEAD][:, :-1].clone()
    state[POSITIONS] = state[POSITIONS].flatten(2).transpose(1, 2).contiguous()
    return state


def their_name(ours: str) -> str:
    """The release's name of a tensor."""
    if ours.startswith("transformer.resnet."):
        return _RESNET + _resnet_name(ours.removeprefix("transformer.resnet."))
    for pattern, theirs in _RENAMES:
        ours = re.sub(pattern, theirs, ours)
    return ours


def _resnet_name(ours: str) -> str:
    stage, number, rest = ours.split(".", 2)
    if stage == "root":
        return f"root.{('conv', 'gn')[int(number)]}.{rest}"
    rest = re.sub(r"^norm", "gn", rest).replace("shortcut.0.", "downsample.").replace("shortcut.1.", "gn_proj.")
    return f"body.{_STAGES[stage]}.unit{int(number) + 1}.{rest}"


def _sizes(state: Mapping[str, Tensor], where: Path) -> TransUNetConfig:
    _, tokens, hidden = state[POSITIONS].shape
    grid = math.isqrt(tokens)
    if grid**2 != tokens:
        raise _refused(where, f"{tokens} position embeddings are not of a square")
    units = [count(state, f"{_RESNET}body.{block}.") for block in _STAGES.values()]
    perceptron, bridge = "transformer.encoder.layer.0.ffn.fc1.weight", "decoder.conv_more.0.weight"
    decoder = [f"decoder.blocks.{number}.conv1.0.weight" for number in range(4)]
    require(state, {perceptron: 2} | dict.fromkeys((bridge, *decoder), 4), where=where, what=WHAT)
    try:
        return TransUNetConfig(
            classes=len(state[HEAD]),
            grid=grid,
            resnet_width=len(state[f"{_RESNET}root.conv.weight"]),
            resnet_units=tuple(units),
            hidden=hidden,
            layers=count(state, "transformer.encoder.layer."),
            heads=hidden // HEAD_WIDTH,
            mlp=len(state[perceptron]),
            bridge=len(state[bridge]),
            decoder=tuple(len(state[name]) for name in decoder),
        )
    except ValueError as error:
        raise _refused(where, str(error)) from error


def _refused(where: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"does not hold {WHAT} ({why})", where=where, remedy="Check which network the file was saved from."
    )
