"""Six frames and two objects, propagated as STCN's authors do: forward, every second frame remembered, top 20."""

from __future__ import annotations

import torch
from foreign_weights import made_up_image
from torch import Tensor

from flarekit.models import STCN, KeyFeatures, aggregate
from flarekit.ops.affinity import read_memory

FRAMES, OBJECTS, HEIGHT, WIDTH = 6, 2, 96, 128
REMEMBER_EVERY, TOP_K = 2, 20


def frames() -> Tensor:
    """float32 (T, 3, H, W)."""
    return made_up_image(FRAMES, 3, HEIGHT, WIDTH)


def first_mask() -> Tensor:
    """float32 (K, 1, H, W): two boxes."""
    mask = torch.zeros(OBJECTS, 1, HEIGHT, WIDTH)
    mask[0, :, 16:56, 24:72] = 1
    mask[1, :, 60:88, 80:120] = 1
    return mask


@torch.no_grad()
def propagate(network: STCN, images: Tensor, mask: Tensor) -> Tensor:
    """Probabilities (K+1, T, 1, H, W), background first, from the first frame's masks (K, 1, H, W)."""
    probabilities = [aggregate(mask[:, 0])]
    features = network.encode_key(images[:1])
    memory = [_remember(network, images[:1], features, probabilities[0])]
    for t in range(1, len(images)):
        features = network.encode_key(images[t : t + 1])
        logits = network.decode(_read(memory, features), features)
        probabilities.append(aggregate(torch.sigmoid(logits)[:, 0]))
        if t % REMEMBER_EVERY == 0 and t < len(images) - 1:
            memory.append(_remember(network, images[t : t + 1], features, probabilities[-1]))
    return torch.stack(probabilities, dim=1)[:, :, None]


def _remember(network: STCN, image: Tensor, features: KeyFeatures, merged: Tensor) -> tuple[Tensor, Tensor]:
    """Key (tokens, C) and values (K, tokens, V) of a frame with its probabilities (K+1, H, W)."""
    masks = merged[1:, None]
    value = network.encode_value(image, features.f16, masks, masks.sum(dim=0, keepdim=True) - masks)
    return features.key[0].flatten(1).T, value.flatten(2).transpose(1, 2)


def _read(memory: list[tuple[Tensor, Tensor]], features: KeyFeatures) -> Tensor:
    """(K, V, h, w)."""
    keys, values = zip(*memory, strict=True)
    query = features.key.flatten(2).transpose(1, 2)
    readout = read_memory(torch.cat(keys)[None], query, torch.cat(values, dim=1)[None], top_k=TOP_K)
    return readout[0].transpose(1, 2).unflatten(2, features.key.shape[-2:])
