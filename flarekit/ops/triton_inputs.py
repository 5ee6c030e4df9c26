"""A memory read as the Triton kernels take it: centred keys, and one offset for each token of each affinity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flarekit.ops.logits import affinity_scale

EXACT_DISTANCE = 8  # standard deviations from zero from which a mean can be taken off half-precision keys exactly


@dataclass(frozen=True, kw_only=True)
class KernelInputs:
    """P affinities, each of one sample and one choice of readable frames."""

    key: Tensor  # (B, N, C) contiguous, centred
    query: Tensor  # (B, Q, C) contiguous, centred alike, of the keys' dtype
    offset: Tensor  # (P, N) float32 bias less |k|^2 / sqrt(C), -inf where a token may not be read
    sample: Tensor  # (P,) int32 the sample of each affinity
    affinity_of: Tensor  # (B, K) int32 the affinity that an object reads with

    @property
    def twice_scale(self) -> float:
        """What a product of a query and a key counts for in the logits."""
        return 2 * affinity_scale(self.key)


def kernel_inputs(
    memory_key: Tensor, query_key: Tensor, objects: int, frame_mask: Tensor | None, frame_bias: Tensor | None
) -> KernelInputs:
    """Shapes as in `read_memory`, of K `objects`; beside the centred keys a float32 number a token is held."""
    dtype = torch.promote_types(memory_key.dtype, query_key.dtype)
    shift = _shift(memory_key, frame_mask, dtype)
    key, query = memory_key.to(dtype) - shift, query_key.to(dtype) - shift
    sample, affinity_of, usable = _affinities(len(key), objects, frame_mask, key.device)
    offset = (key.float().square().sum(dim=-1) * -affinity_scale(key))[sample]
    if frame_bias is not None:
        offset += _by_token(frame_bias.float()[sample], key.shape[1])
    if usable is not None:
        offset.masked_fill_(~_by_token(usable, key.shape[1]), -torch.inf)
    return KernelInputs(
        key=key.contiguous(),
        query=query.contiguous(),
        offset=offset,
        sample=sample.to(torch.int32),
        affinity_of=affinity_of.to(torch.int32),
    )


def _shift(key: Tensor, frame_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(B, 1, C) what is taken off all keys: the mean of those that some object reads.

    Products of half-precision numbers are exact in float32, and rounding a difference back to half precision
    would cost more than small keys gain. So there the mean is taken off only where it is so far from zero that
    keys around it lie within a factor of two of it: then their difference is exact (Sterbenz).
    """
    weight = key.new_full((*key.shape[:2], 1), 1 / key.shape[1], dtype=torch.float32)
    if frame_mask is not None:
        readable = _by_token(frame_mask.any(dim=1), key.shape[1])[..., None]
        weight = readable / readable.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (key * weight).sum(dim=1, keepdim=True)
    if dtype == torch.float32:
        return mean
    deviation = ((key - mean).square() * weight).sum(dim=1, keepdim=True).sqrt()
    near_zero = mean.abs() <= EXACT_DISTANCE * deviation  # false of keys that are not numbers: they stay visible
    return mean.masked_fill(near_zero, 0).to(dtype)


def _affinities(
    batch: int, objects: int, frame_mask: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Samples (P,), each object's affinity (B, K), and readable frames (P, T): one affinity for equal masks."""
    samples = torch.arange(batch, device=device)
    if frame_mask is None:
        return samples, samples[:, None].expand(batch, objects).contiguous(), None
    numbered = samples[:, None, None].expand(batch, objects, 1)
    rows = torch.cat((numbered, frame_mask.to(numbered.dtype)), dim=2).flatten(0, 1)
    unique, affinity_of = torch.unique(rows, dim=0, return_inverse=True)
    return unique[:, 0], affinity_of.view(batch, objects), unique[:, 1:].bool()


def _by_token(by_frame: Tensor, tokens: int) -> Tensor:
    """(P, N) from a value a frame (P, T)."""
    return by_frame.repeat_interleave(tokens // by_frame.shape[1], dim=1)
