"""The Vision Transformer release's R50+ViT weights (.npz), which TransUNet starts from.

Kernels there are HWIO for convolutions and (input, heads, width) or (heads, width, output) in attention; position
embeddings belong to another grid, after one of the class token. They are resized with corners aligned, as
TransUNet's own loader does (scipy's zoom of order 1).
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from flarekit.checkpoints.foreign.matching import SHOWN
from flarekit.config.architecture import FLARE22_CLASSES, TransUNetConfig
from flarekit.errors import CheckpointError
from flarekit.files import input_errors
from flarekit.models import TransUNet, build

WHAT = "R50+ViT weights of the Vision Transformer release"
POSITIONS = "Transformer/posembed_input/pos_embedding"
QUERY = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
FC = "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"
CLASSIFIER = ("cls", "head/", "pre_logits/")  # what TransUNet has no use for
_SCALE_BIAS = {"weight": "scale", "bias": "bias"}
_BLOCKS = {"stage4": "block1", "stage8": "block2", "stage16": "block3"}
_LAYER = {
    "attention_norm": "LayerNorm_0",
    "mlp_norm": "LayerNorm_2",
    "mlp.0": "MlpBlock_3/Dense_0",
    "mlp.3": "MlpBlock_3/Dense_1",
    **{f"attention.{part}": f"MultiHeadDotProductAttention_1/{part}" for part in ("query", "key", "value", "out")},
}


def from_vit_npz(path: Path, *, grid: int, classes: int = FLARE22_CLASSES, seed: int = 0) -> TransUNet:
    """A TransUNet whose ResNet and transformer are the file's; decoder and head are random.

    `grid` is the side of the token grid that position embeddings are resized to. Raises InputError when the file
    cannot be read, CheckpointError when it holds other weights.
    """
    arrays = _read(path)
    _require(arrays, (POSITIONS, QUERY, FC, "conv_root/kernel"), path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(replace(_sizes(arrays, path), grid=grid, classes=classes))
    backbone = network.transformer.state_dict()
    names = {ours: _their_name(ours) for ours in backbone}
    _require(arrays, names.values(), path)
    unexpected = sorted(n for n in arrays.keys() - set(names.values()) if not n.startswith(CLASSIFIER))
    found = {ours: _tensor(arrays[names[ours]], tensor.shape) for ours, tensor in backbone.items()}
    found["positions"] = _positions(arrays[POSITIONS], grid, path)
    state = {ours: t for ours, t in found.items() if t is not None and t.shape == backbone[ours].shape}
    wrong = [names[ours] for ours in backbone if ours not in state]
    if unexpected or wrong:
        raise _refused(path, f"unexpected or of another shape: {', '.join((unexpected + wrong)[:SHOWN])}")
    network.transformer.load_state_dict(state, strict=True)
    return network


def _read(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with input_errors(path), np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _refused(path, "it is cut short or of another kind") from error


def _sizes(arrays: Mapping[str, np.ndarray], path: Path) -> TransUNetConfig:
    try:
        hidden, heads, _ = arrays[QUERY].shape
        return TransUNetConfig(
            resnet_width=arrays["conv_root/kernel"].shape[-1],
            resnet_units=tuple(_count(arrays, f"{block}/") for block in _BLOCKS.values()),
            hidden=hidden,
            layers=_count(arrays, "Transformer/encoderblock_"),
            heads=heads,
            mlp=arrays[FC].shape[-1],
        )
    except (ValueError, IndexError) as error:
        raise _refused(path, str(error)) from error


def _count(arrays: Mapping[str, np.ndarray], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition("/")[0] for name in arrays if name.startswith(prefix)})


def _their_name(ours: str) -> str:
    """The release's name of a tensor of our transformer."""
    module, _, kind = ours.rpartition(".")
    if ours == "positions":
        return POSITIONS
    if ours.startswith("resnet."):
        return _resnet_name(module.removeprefix("resnet."), kind)
    if module == "norm":
        return f"Transformer/encoder_norm/{_SCALE_BIAS[kind]}"
    if module == "embedding":
        return f"embedding/{'kernel' if kind == 'weight' else kind}"
    _, number, part = module.split(".", 2)
    leaf = _SCALE_BIAS[kind] if part.endswith("norm") else {"weight": "kernel"}.get(kind, kind)
    return f"Transformer/encoderblock_{number}/{_LAYER[part]}/{leaf}"


def _resnet_name(module: str, kind: str) -> str:
    stage, number, *rest = module.split(".")
    if stage == "root":
        return "conv_root/kernel" if number == "0" else f"gn_root/{_SCALE_BIAS[kind]}"
    layer = {"shortcut.0": "conv_proj", "shortcut.1": "gn_proj"}.get(".".join(rest), rest[0].replace("norm", "gn"))
    leaf = "kernel" if layer.startswith("conv") else _SCALE_BIAS[kind]
    return f"{_BLOCKS[stage]}/unit{int(number) + 1}/{layer}/{leaf}"


def _tensor(array: np.ndarray, shape: torch.Size) -> Tensor | None:
    """The array as PyTorch lays out a tensor of that shape; None where it cannot be one."""
    tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    if tensor.numel() != shape.numel():
        return None
    if len(shape) == 4:  # HWIO to OIHW
        return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else None
    if len(shape) == 2:  # input (split into heads after it) by output (split into heads before it)
        outputs, inputs = shape
        fits = tensor.shape[0] == inputs or tensor.shape[-1] == outputs
        return tensor.reshape(inputs, outputs).T if fits else None
    return tensor.flatten()


def _positions(array: np.ndarray, grid: int, path: Path) -> Tensor:
    """(1, hidden, grid, grid) of embeddings (1, tokens, hidden) that may be preceded by the class token's."""
    side = math.isqrt(array.shape[1]) if array.ndim == 3 else 0
    if not side or array.shape[1] - side**2 > 1:
        raise _refused(path, f"{POSITIONS} {array.shape} are not of a square")
    positions = torch.from_numpy(np.array(array, dtype=np.float32))[:, -(side**2) :]
    planes = positions.transpose(1, 2).unflatten(2, (side, side))
    return planes if side == grid else F.interpolate(planes, (grid, grid), mode="bilinear", align_corners=True)


def _require(arrays: Mapping[str, np.ndarray], names: Iterable[str], path: Path) -> None:
    if missing := [name for name in names if name not in arrays]:
        raise _refused(path, f"it has no {', '.join(missing[:SHOWN])}")


def _refused(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"does not hold {WHAT} ({why})", where=path, remedy="TransUNet starts from imagenet21k/R50+ViT-B_16.npz."
    )
