"""The memory read as a formula, with the whole affinity in memory: what every other path is checked against."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def read_memory_reference(
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    *,
    top_k: int | None = None,
    frame_mask: Tensor | None = None,
    frame_bias: Tensor | None = None,
) -> Tensor:
    """The readout (B, K, Q, V) of `read_memory`, argument for argument, in float32 or the keys' wider dtype."""
    precision = torch.promote_types(memory_key.dtype, torch.float32)
    key, query, value = (t.to(precision) for t in (memory_key, query_key, memory_value))
    distance = (query[:, :, None] - key[:, None]).square().sum(dim=-1)
    logits = (-distance / math.sqrt(key.shape[-1]))[:, None].expand(-1, value.shape[1], -1, -1)
    if frame_bias is not None:
        logits = logits + _by_token(frame_bias.to(precision), key)[:, None, None]
    if frame_mask is not None:
        logits = logits.masked_fill(~_by_token(frame_mask, key)[:, :, None], -torch.inf)
    if top_k is not None and top_k < key.shape[1]:
        chosen = logits.sort(dim=-1, descending=True, stable=True).indices[..., :top_k]
        logits = torch.full_like(logits, -torch.inf).scatter(-1, chosen, logits.gather(-1, chosen))
    unread = (logits == -torch.inf).all(dim=-1, keepdim=True)
    weights = logits.masked_fill(unread, 0).softmax(dim=-1).masked_fill(unread, 0)
    return (weights @ value).to(memory_value.dtype)


def _by_token(by_frame: Tensor, key: Tensor) -> Tensor:
    """(..., N) from a value a frame (..., T)."""
    return by_frame.repeat_interleave(key.shape[1] // by_frame.shape[-1], dim=-1)
