"""The gradient of a memory read: every block of queries makes its weights anew, so that no affinity is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flarekit.ops.logits import Reading, affinity_scale
from flarekit.ops.nearest import nearest

QUERY_BLOCK = 128  # query tokens whose weights over all of the memory are held at once
VALUE_STRETCH = 4096  # rows of half-precision values that are held in float32 at once


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Sums over the blocks, in float32 at least; filled in place."""

    memory_key: Tensor  # (N, C)
    query_key: Tensor  # (Q, C)
    memory_value: Tensor  # (K, N, V)
    frame_bias: Tensor  # (T,)


def add_gradients(
    gradients: Gradients, reading: Reading, query: Tensor, value: Tensor, readout_gradient: Tensor, top_k: int | None
) -> None:
    """Add what one reading's objects contribute, from queries (Q, C), values (K, N, V) and the readout's
    gradient (K, Q, V)."""
    for start in range(0, len(query), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        centred_query = reading.centred_query(query[rows])
        weights = _weights(reading, centred_query, top_k)
        outer = readout_gradient[list(reading.objects), rows].to(weights.dtype)
        wanted = _values_backward(gradients.memory_value, reading, weights, value, outer)
        logits = weights * (wanted - (weights * wanted).sum(dim=1, keepdim=True))
        gradients.query_key[rows] += _keys_backward(gradients.memory_key, reading, centred_query, logits)
        frames = len(reading.frame_offset)
        gradients.frame_bias.add_(logits.sum(dim=0).unflatten(0, (frames, -1)).sum(dim=1))


def _weights(reading: Reading, centred_query: Tensor, top_k: int | None) -> Tensor:
    """(q, N) weights that sum to one a row, zero where a token is not read."""
    if top_k is None or top_k >= len(reading.key):
        return reading.logits(centred_query, reading.whole).softmax(dim=1)
    weights, token = nearest(reading, centred_query, top_k)
    return weights.new_zeros(len(weights), len(reading.key)).scatter_(1, token, weights)


def _values_backward(total: Tensor, reading: Reading, weights: Tensor, value: Tensor, outer: Tensor) -> Tensor:
    """(q, N) gradient of the weights; the values' is added to `total` (K, N, V)."""
    wanted = torch.zeros_like(weights)
    for index, gradient in zip(reading.objects, outer, strict=True):
        for tokens in reading.stretches(VALUE_STRETCH):
            wanted[:, tokens].addmm_(gradient, value[index, tokens].to(weights.dtype).T)
            total[index, tokens].addmm_(weights[:, tokens].T, gradient)
    return wanted


def _keys_backward(total: Tensor, reading: Reading, centred_query: Tensor, logits: Tensor) -> Tensor:
    """(q, C) gradient of the query keys, from that of the logits (q, N); the memory keys' is added to `total`."""
    key = reading.centred_key(reading.whole)
    twice = 2 * affinity_scale(key)
    total.addmm_(logits.T, centred_query, alpha=twice)
    total.addcmul_(key, logits.sum(dim=0)[:, None], value=-twice)
    return twice * (logits @ key)
