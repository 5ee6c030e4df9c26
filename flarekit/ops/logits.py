"""What the softmax of a memory read is taken over, a block of queries and a stretch of memory at a time.

The affinity of a memory key k and a query key q is the negative squared Euclidean distance over sqrt(C)
(STCN, Cheng et al. 2021, section 3.2). |q|^2 is the same for every memory token and cancels in the softmax,
so (2 q.k - |k|^2) / sqrt(C) is what is computed, with the mean key subtracted from both: distances stay as they
are, and |k|^2 stays small beside its differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What some objects of one sample read: they may read the same frames, so they share one affinity."""

    sample: int  # its number in the batch
    objects: Sequence[int]  # their numbers among the sample's K
    key: Tensor  # (N, C) memory keys as given
    mean: Tensor  # (C,) the mean key of the frames that any object reads; its dtype is what sums are made in
    frame_offset: Tensor  # (T,) bias of each frame, -inf where these objects may not read it

    def centred_key(self, tokens: slice) -> Tensor:
        """(n, C) memory keys less their mean."""
        return self.key[tokens].to(self.mean.dtype) - self.mean

    def centred_query(self, query: Tensor) -> Tensor:
        """(q, C) query keys less the mean of the memory keys."""
        return query.to(self.mean.dtype) - self.mean

    def logits(self, centred_query: Tensor, tokens: slice, unit: float = 1.0) -> Tensor:
        """(q, n) from queries (q, C) and a stretch of memory tokens, times `unit`; -inf where one may not be read."""
        key = self.centred_key(tokens)
        scale = affinity_scale(key) * unit
        numbers = torch.arange(tokens.start, tokens.stop, device=key.device)
        frames = numbers.div(self._frame_tokens, rounding_mode="floor")
        offset = self.frame_offset[frames] * unit - key.square().sum(dim=-1) * scale
        return torch.addmm(offset, centred_query * (2 * scale), key.T)

    def stretches(self, size: int) -> Iterator[slice]:
        """The memory in stretches of `size` tokens, without those that hold no readable one."""
        readable = (self.frame_offset > -torch.inf).tolist()
        for start in range(0, len(self.key), size):
            stop = min(start + size, len(self.key))
            if any(readable[start // self._frame_tokens : (stop - 1) // self._frame_tokens + 1]):
                yield slice(start, stop)

    @property
    def whole(self) -> slice:
        """All memory tokens."""
        return slice(0, len(self.key))

    @property
    def _frame_tokens(self) -> int:
        return len(self.key) // len(self.frame_offset)


def readings(
    memory_key: Tensor, value: Tensor, frame_mask: Tensor | None, frame_bias: Tensor | None
) -> Iterator[Reading]:
    """A batch's readings: a sample and the frames that objects may read. Objects that may read none have none.

    Shapes as in `read_memory`; sums are float32 at least.
    """
    dtype = torch.promote_types(torch.promote_types(memory_key.dtype, value.dtype), torch.float32)
    for sample, key in enumerate(memory_key):
        bias = key.new_zeros(_frames(frame_mask, frame_bias), dtype=dtype)
        if frame_bias is not None:
            bias = frame_bias[sample].to(dtype)
        mask = None if frame_mask is None else frame_mask[sample]
        mean = mean_key(key, None if mask is None else mask.any(dim=0), dtype)
        for objects, usable in _groups(mask, value.shape[1]):
            offset = bias if usable is None else bias.masked_fill(~usable, -torch.inf)
            yield Reading(sample=sample, objects=objects, key=key, mean=mean, frame_offset=offset)


def mean_key(key: Tensor, readable: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(C,) the mean of keys (N, C) over the frames that are `readable` (T,) bool, zero if none is."""
    if readable is None:
        return key.mean(dim=0, dtype=dtype)
    frames = key.unflatten(0, (len(readable), -1)).mean(dim=1, dtype=dtype)
    return frames.where(readable[:, None], 0).sum(dim=0) / readable.sum().clamp(min=1)


def affinity_scale(key: Tensor) -> float:
    """1 / sqrt(C) for keys (..., C)."""
    return 1.0 / math.sqrt(key.shape[-1])


def _frames(frame_mask: Tensor | None, frame_bias: Tensor | None) -> int:
    """T; one frame where nothing tells them apart."""
    by_frame = frame_bias if frame_mask is None else frame_mask
    return 1 if by_frame is None else by_frame.shape[-1]


def _groups(mask: Tensor | None, objects: int) -> Iterator[tuple[Sequence[int], Tensor | None]]:
    """Objects that read the same frames, with those frames (T,); objects without any are left out."""
    if mask is None:
        yield range(objects), None
        return
    rows, group_of = torch.unique(mask, dim=0, return_inverse=True)
    for group, usable in enumerate(rows):
        if usable.any():
            yield torch.nonzero(group_of == group).flatten().tolist(), usable
