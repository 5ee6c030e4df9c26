"""What the network does with one slice: look at it, remember it with masks, or find remembered objects on it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flarekit.models import STCN, KeyFeatures
from flarekit.propagation.memory import Frame


class View(NamedTuple):
    """A slice as the network sees it."""

    z: int  # slice number
    image: Tensor  # (1, 3, h, w) in 0..1
    features: KeyFeatures  # of that image


def look(network: STCN, image: Tensor, z: int) -> View:
    """The view of slice z from its image (1, 3, h, w) on the network's device."""
    return View(z, image, network.encode_key(image))


def remember(network: STCN, view: View, masks: Tensor, usable: Tensor) -> Frame:
    """A memory frame from masks (K, h, w) in 0..1; `usable` (K,) bool says whose mask is known."""
    masks = masks.to(view.image) * usable.to(view.image)[:, None, None]
    others = (masks.sum(dim=0) - masks).clamp(0, 1)
    value = network.encode_value(view.image, view.features.f16, masks[:, None], others[:, None])
    return Frame(z=view.z, key=_tokens(view.features.key)[0], value=_tokens(value), usable=usable)


def query(view: View) -> Tensor:
    """The view's key as query tokens (Q, C)."""
    return _tokens(view.features.key)[0]


def decode(network: STCN, view: View, readout: Tensor, objects_at_once: int) -> Tensor:
    """Each object's own probability (K, h, w) from its readout (K, Q, V)."""
    height, width = view.features.key.shape[-2:]
    planes = readout.transpose(1, 2).unflatten(2, (height, width))
    skips = network.decode_skips(view.features)
    logits = [network.decode(part, skips) for part in planes.split(objects_at_once)]
    return torch.cat(logits)[:, 0].float().sigmoid()


def _tokens(planes: Tensor) -> Tensor:
    """(B, h w, C), row-major, from (B, C, h, w)."""
    return planes.flatten(2).transpose(1, 2).contiguous()
