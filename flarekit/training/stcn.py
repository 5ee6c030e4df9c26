"""Training of the propagation network on clips of three slices (STCN, Cheng et al. 2021, section 4.1).

The first slice and its mask are the memory that the second is segmented from; the second joins it with the mask
that was predicted for it, and the third is segmented from both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flarekit.config.training import STCNTrainingConfig
from flarekit.data.datasets import ClipBatch
from flarekit.models.stcn import STCN, KeyFeatures, aggregate
from flarekit.ops.affinity import read_memory
from flarekit.training.losses import bootstrapped_cross_entropy, lovasz_loss
from flarekit.training.schedule import bootstrap_share


class STCNObjective(nn.Module):
    """The loss of the propagation network on a batch of clips."""

    def __init__(self, network: STCN, config: STCNTrainingConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, batch: ClipBatch, iteration: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar with gradient, and without: cross-entropy and Lovasz (2 B,) of every segmented slice.

        `iteration` decides on the share of voxels that the cross-entropy keeps.
        """
        share = bootstrap_share(self.config, iteration)
        probabilities = segment_clips(self.network, batch).flatten(0, 1)
        classes = batch.classes[:, 1:].flatten(0, 1)
        parts = {
            "cross_entropy": bootstrapped_cross_entropy(probabilities.log(), classes, share=share),
            "lovasz": lovasz_loss(probabilities, classes),
        }
        loss = parts["cross_entropy"].mean() + parts["lovasz"].mean()
        detached = {name: part.detach() for name, part in parts.items()}
        return loss, detached | {"bootstrap_share": loss.new_tensor(share)}


def segment_clips(network: STCN, batch: ClipBatch) -> Tensor:
    """Probabilities float32 (B, 2, K+1, s, s), background first, of every clip's second and third slice."""
    images, present = batch.images, batch.present
    objects = torch.arange(1, present.shape[1] + 1, device=images.device)[:, None, None]
    features = _by_slice(network.encode_key(images.flatten(0, 1)), len(images))
    first = (batch.classes[:, :1] == objects).float()
    keys = [_tokens(features[0].key)]
    values = [_encode_values(network, images[:, 0], features[0], first)]
    second = _segment(network, keys, values, features[1], present)
    keys.append(_tokens(features[1].key))
    values.append(_encode_values(network, images[:, 1], features[1], second[:, 1:]))
    third = _segment(network, keys, values, features[2], present)
    return torch.stack((second, third), dim=1)


def _segment(network: STCN, keys: list[Tensor], values: list[Tensor], query: KeyFeatures, present: Tensor) -> Tensor:
    """Probabilities (B, K+1, s, s) of the slices with these query features, from the memory so far."""
    count = present.shape[1]
    readout = read_memory(torch.cat(keys, 1), _tokens(query.key), torch.cat(values, 2))
    height, width = query.key.shape[-2:]
    planes = readout.flatten(0, 1).transpose(1, 2).unflatten(2, (height, width))
    logits = network.decode(planes, _for_objects(query, count))
    own = logits.float().sigmoid()[:, 0].unflatten(0, (-1, count))
    return aggregate(own * present[:, :, None, None])


def _encode_values(network: STCN, images: Tensor, features: KeyFeatures, masks: Tensor) -> Tensor:
    """Memory values (B, K, tokens, V) of slices (B, C, s, s) with masks (B, K, s, s) in 0..1."""
    count = masks.shape[1]
    others = masks.sum(1, keepdim=True) - masks
    value = network.encode_value(
        images.repeat_interleave(count, 0),
        features.f16.repeat_interleave(count, 0),
        masks.flatten(0, 1)[:, None],
        others.flatten(0, 1)[:, None],
    )
    return _tokens(value).unflatten(0, (-1, count))


def _by_slice(features: KeyFeatures, clips: int) -> list[KeyFeatures]:
    """Features of the first, second and third slices, from those of all slices clip after clip."""
    split = [plane.unflatten(0, (clips, -1)).unbind(1) for plane in features]
    return [KeyFeatures(*planes) for planes in zip(*split, strict=True)]


def _for_objects(features: KeyFeatures, count: int) -> KeyFeatures:
    """The features of each slice, once for every object on it."""
    if count == 1:
        return features
    return KeyFeatures(*(plane.repeat_interleave(count, 0) for plane in features))


def _tokens(planes: Tensor) -> Tensor:
    """(B, h w, C) from (B, C, h, w)."""
    return planes.flatten(2).transpose(1, 2)
