"""Reading a key/value memory by distance: the one operation that STCN's training and inference share.

The affinity of a memory key k and a query key q is the negative squared Euclidean distance over sqrt(C)
(STCN, Cheng et al. 2021, section 3.2). |q|^2 is the same for every memory token and cancels in the softmax,
so (2 q.k - |k|^2) / sqrt(C) is what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

QUERY_BLOCK = 128  # query tokens read at once in inference: bounds the affinity that is held


def read_memory(
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    *,
    top_k: int | None = None,
    frame_mask: Tensor | None = None,
    frame_bias: Tensor | None = None,
) -> Tensor:
    """The readout (B, K, Q, V): for every object, memory values averaged by a softmax over memory tokens.

    `memory_key` (B, N, C), `query_key` (B, Q, C) and `memory_value` (B, K, N, V) hold N = T x tokens memory
    tokens, frame after frame; one affinity serves all K objects. `top_k` keeps the nearest tokens only, the
    first of equally near ones. `frame_mask` (B, K, T) bool says which frames an object may read: one that may
    read none gets a readout of zeros. `frame_bias` (B, T) is added to the logits of a frame's tokens.
    Sums are float32 at least; the readout has the dtype of `memory_value`. Without autograd the affinity is
    made in blocks of query tokens and never held whole. Raises ValueError on shapes that do not fit.
    """
    _check(memory_key, query_key, memory_value, top_k)
    precision = torch.promote_types(memory_key.dtype, torch.float32)
    key, query = memory_key.to(precision), query_key.to(precision)
    readouts = []
    for sample in range(key.shape[0]):
        offsets = _token_offsets(key[sample], None if frame_bias is None else frame_bias[sample])
        mask = None if frame_mask is None else frame_mask[sample]
        readouts.append(_read_objects(key[sample], query[sample], memory_value[sample], offsets, mask, top_k))
    return torch.stack(readouts).to(memory_value.dtype)


def _token_offsets(key: Tensor, frame_bias: Tensor | None) -> Tensor:
    """(N,): the part of the logits that depends on the memory token alone."""
    offsets = key.square().sum(dim=-1) * -_scale(key)
    if frame_bias is None:
        return offsets
    return offsets + _per_token(frame_bias.to(key.dtype), len(key))


def _read_objects(
    key: Tensor, query: Tensor, value: Tensor, offsets: Tensor, mask: Tensor | None, top_k: int | None
) -> Tensor:
    """(K, Q, V) from key (N, C), query (Q, C), value (K, N, V), offsets (N,) and mask (K, T)."""
    readout = [query.new_zeros(len(query), value.shape[-1])] * len(value)
    for objects, usable in _groups(mask, len(value)):
        allowed = offsets
        if usable is not None:
            allowed = offsets.masked_fill(~_per_token(usable, len(key)), -torch.inf)
        values = [value[index].to(query.dtype) for index in objects]
        for index, planes in zip(objects, _read(key, query, values, allowed, top_k), strict=True):
            readout[index] = planes
    return torch.stack(readout)


def _groups(mask: Tensor | None, objects: int) -> Iterator[tuple[Sequence[int], Tensor | None]]:
    """Objects that read the same frames, with those frames (T,); objects without any are left out."""
    if mask is None:
        yield range(objects), None
        return
    rows, group_of = torch.unique(mask, dim=0, return_inverse=True)
    for group, usable in enumerate(rows):
        if usable.any():
            yield torch.nonzero(group_of == group).flatten().tolist(), usable


def _read(key: Tensor, query: Tensor, values: list[Tensor], offsets: Tensor, top_k: int | None) -> list[Tensor]:
    """Readouts (Q, V), one for each of the values (N, V)."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in (key, query, offsets, *values)):
        weights = _dense_weights(_logits(key, query, offsets), top_k)
        return [weights @ value for value in values]
    blocks = [_read_block(_logits(key, block, offsets), values, top_k) for block in query.split(QUERY_BLOCK)]
    return [torch.cat(planes) for planes in zip(*blocks, strict=True)]


def _logits(key: Tensor, query: Tensor, offsets: Tensor) -> Tensor:
    return torch.addmm(offsets, query * (2 * _scale(key)), key.T)


def _dense_weights(logits: Tensor, top_k: int | None) -> Tensor:
    """(Q, N) weights that sum to one a row; `softmax` subtracts the row's maximum itself."""
    if top_k is not None and top_k < logits.shape[-1]:
        nearest = _nearest(logits.detach(), top_k)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, nearest, logits.gather(-1, nearest))
    return logits.softmax(dim=-1)


def _read_block(logits: Tensor, values: list[Tensor], top_k: int | None) -> list[Tensor]:
    """Readouts without autograd. Top-k touches the nearest rows of the row-major values alone, which a CPU
    does several times faster than a product with weights that are mostly zero."""
    if top_k is None or top_k >= logits.shape[-1]:
        weights = logits.softmax(dim=-1)
        return [weights @ value for value in values]
    nearest = _nearest(logits, top_k)
    weights = logits.gather(-1, nearest).softmax(dim=-1)
    return [F.embedding_bag(nearest, v.contiguous(), mode="sum", per_sample_weights=weights) for v in values]


def _nearest(logits: Tensor, top_k: int) -> Tensor:
    """(Q, k) indices of the largest logits of each row; of equal ones the first are taken.

    `topk` picks any of equal values, so rows tied across the k-th place are sorted (stably) once more.
    """
    largest, indices = logits.topk(top_k + 1, dim=-1)
    tied = (largest[:, top_k - 1] == largest[:, top_k]) & largest[:, top_k].isfinite()
    indices = indices[:, :top_k]
    if tied.any():
        ordered = logits[tied].sort(dim=-1, descending=True, stable=True).indices
        indices = indices.index_put((tied,), ordered[:, :top_k])
    return indices


def _per_token(frames: Tensor, tokens: int) -> Tensor:
    """(N,) from a value a frame (T,)."""
    if tokens % len(frames):
        raise ValueError(f"{tokens} memory tokens are not a whole number for each of {len(frames)} frames")
    return frames.repeat_interleave(tokens // len(frames))


def _scale(key: Tensor) -> float:
    return 1.0 / math.sqrt(key.shape[-1])


def _check(memory_key: Tensor, query_key: Tensor, memory_value: Tensor, top_k: int | None) -> None:
    batch, tokens, channels = memory_key.shape
    keys = f"memory keys {tuple(memory_key.shape)}"
    if query_key.shape[0] != batch or query_key.shape[2] != channels:
        raise ValueError(f"query keys {tuple(query_key.shape)} do not fit {keys}")
    if memory_value.shape[0] != batch or memory_value.shape[2] != tokens:
        raise ValueError(f"memory values {tuple(memory_value.shape)} do not fit {keys}")
    if tokens == 0:
        raise ValueError("the memory is empty")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is at least 1, got {top_k}")
