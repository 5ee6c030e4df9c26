"""Reading the nearest memory tokens alone: streaming top-k, then a weighted sum of the values' rows.

A logit and its token's number are ranked as one 64-bit integer, so that of equally near tokens the first are
taken whatever order `topk` finds them in: slices end in air, whose keys are all equal. In every stretch of memory
the tokens are first grouped; the k nearest are found among the k groups with the nearest members, so that the
expensive `topk` sees one number a group.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flarekit.ops.logits import Reading

MEMORY_STRETCH = 16384  # memory tokens whose logits are held at once for a block of queries
GROUP = 32  # neighbouring tokens that are looked at through their nearest first
_LAST = 0xFFFFFFFF  # token numbers are ranked downwards from here


def nearest(reading: Reading, centred_query: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Weights (q, k) that sum to one and token numbers (q, k) of the k nearest tokens, the first of equal ones.

    Fewer than k come back where a reading has fewer tokens; float64, which is for checks, is sorted whole.
    """
    if centred_query.dtype == torch.float64:
        logits = reading.logits(centred_query, reading.whole)
        largest, token = logits.sort(dim=1, descending=True, stable=True)
        return largest[:, :top_k].softmax(dim=1), token[:, :top_k]
    best = torch.empty(len(centred_query), 0, dtype=torch.int64, device=centred_query.device)
    for tokens in reading.stretches(MEMORY_STRETCH):
        found = _candidates(reading.logits(centred_query, tokens), top_k, tokens.start)
        best = _largest(torch.cat((best, found), dim=1), top_k)
    return unranked_logits(best).softmax(dim=1), unranked_tokens(best)


def weighted_rows(value: Tensor, weights: Tensor, token: Tensor) -> Tensor:
    """(q, V) sums of rows of `value` (N, V), picked by `token` (q, k) and weighted by `weights` (q, k).

    `embedding_bag` never holds the picked rows; it is taken on a CPU, for row-major values of the weights' dtype.
    """
    if value.device.type == "cpu" and value.dtype == weights.dtype and value.is_contiguous():
        return F.embedding_bag(token, value, mode="sum", per_sample_weights=weights)
    return torch.bmm(weights[:, None], value[token].to(weights.dtype))[:, 0]


def ranked(logits: Tensor, token: Tensor) -> Tensor:
    """int64, larger for a larger float32 logit and, of equal ones, for a lower token number (below 2^32)."""
    bits = (logits + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
    return (_ascending(bits).to(torch.int64) << 32) | (_LAST - token)


def unranked_logits(ranks: Tensor) -> Tensor:
    """The float32 logits that `ranked` was given."""
    return _ascending((ranks >> 32).to(torch.int32)).view(torch.float32)


def unranked_tokens(ranks: Tensor) -> Tensor:
    """The token numbers that `ranked` was given, int64."""
    return _LAST - (ranks & _LAST)


def _candidates(logits: Tensor, top_k: int, first: int) -> Tensor:
    """(q, c) ranks of tokens among which the k nearest of logits (q, n) are; `first` is the number of column 0."""
    groups = logits.shape[1] // GROUP
    if groups <= top_k:
        return ranked(logits, torch.arange(first, first + logits.shape[1], device=logits.device))
    grouped = logits[:, : groups * GROUP].unflatten(1, (groups, GROUP))
    nearest_group = ranked(grouped.amax(dim=2), torch.arange(groups, device=logits.device))
    chosen = unranked_tokens(_largest(nearest_group, top_k))
    members = (chosen[:, :, None] * GROUP + torch.arange(GROUP, device=logits.device)).flatten(1)
    rest = torch.arange(groups * GROUP, logits.shape[1], device=logits.device).expand(len(logits), -1)
    columns = torch.cat((members, rest), dim=1)
    return ranked(logits.gather(1, columns), columns + first)


def _largest(ranks: Tensor, top_k: int) -> Tensor:
    return ranks.topk(min(top_k, ranks.shape[1]), dim=1, sorted=False).values


def _ascending(bits: Tensor) -> Tensor:
    """int32 that orders as the float32 with these bits does; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
