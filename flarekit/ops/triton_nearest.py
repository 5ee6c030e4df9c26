"""Reading the nearest memory tokens alone on CUDA: three Triton kernels and no affinity in memory.

The memory is read in groups of neighbouring tokens. The first kernel streams over it and keeps, of each query, the
groups with the nearest members, as 64-bit integers that rank by logit and then by number: the k nearest tokens are
in the k nearest groups, and of equal ones the first. The second weighs the members of those groups and keeps the k
nearest; the third sums their values for every object.
Shapes: any N > k and Q, C and k up to 128. dtypes: float32 (IEEE products), float16, bfloat16.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from flarekit.ops.triton_inputs import KernelInputs
from flarekit.ops.triton_softmax import load_rows, padded_channels, splits_of, stretch_of, tile_logits, tile_queries

_TOKENS = 256  # of one tile, and members of groups that a query is weighed against
_WIDTH = 512  # values of a row that one program sums
_NONE_HIGH = tl.constexpr(-(2**31))  # upper half of a rank that stands for no token: below any number's
_NONE = tl.constexpr(-(2**63))


@triton.jit
def _ranked(logits, token):
    """int64 that is larger for a larger logit and, of equal ones, for a lower token number."""
    bits = (logits + 0.0).to(tl.int32, bitcast=True)
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ascending.to(tl.int64) << 32) | (0x7FFFFFFF - token).to(tl.int64)


@triton.jit
def _logits_of(ranks):
    bits = (ranks >> 32).to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _token_of(ranks):
    return 0x7FFFFFFF - (ranks & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def _larger_of(best, new):
    """The largest numbers of each row of `best` and `new` together, as many as `best` has; none occurs twice.

    The largest new one takes the place of the smallest of the best for as long as that is a gain in any row: few
    times, once a good part of the memory has been seen.
    """
    gain = tl.max((tl.max(new, axis=1) > tl.min(best, axis=1)).to(tl.int32), axis=0)
    while gain > 0:
        highest, lowest = tl.max(new, axis=1)[:, None], tl.min(best, axis=1)[:, None]
        better = highest > lowest
        best = tl.where(better & (best == lowest), highest, best)
        new = tl.where(better & (new == highest), _NONE, new)
        gain = tl.max((tl.max(new, axis=1) > tl.min(best, axis=1)).to(tl.int32), axis=0)
    return best


@triton.jit
def _groups_kernel(
    query, key, offset, sample, found, queries, memory, stretch, twice_scale,
    channels: tl.constexpr, padded: tl.constexpr, kept: tl.constexpr, block_q: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """Of each affinity, query and stretch of memory, the ranks of the `kept` groups with the nearest members."""
    split, affinity = tl.program_id(1), tl.program_id(2)
    batch = tl.load(sample + affinity).to(tl.int64)
    rows = tl.program_id(0) * block_q + tl.arange(0, block_q)
    loaded = load_rows(query + batch * queries * channels, rows, queries, channels, padded)
    keys, offsets = key + batch * memory * channels, offset + affinity.to(tl.int64) * memory
    best = tl.full((block_q, kept), _NONE, tl.int64) + tl.arange(0, kept).to(tl.int64)[None, :]
    for start in range(split * stretch, tl.minimum(memory, (split + 1) * stretch), block_n):
        tokens = start + tl.arange(0, block_n)
        logits = tile_logits(loaded, keys, offsets, tokens, memory, twice_scale, channels, padded)
        nearest = tl.max(tl.reshape(logits, (block_q, kept, block_n // kept)), axis=2)
        group = start // (block_n // kept) + tl.arange(0, kept)
        best = _larger_of(best, _ranked(nearest, group[None, :]))
    place = ((affinity.to(tl.int64) * queries + rows) * tl.num_programs(1) + split) * kept
    tl.store(found + place[:, None] + tl.arange(0, kept)[None, :], best, mask=rows[:, None] < queries)


@triton.jit
def _tokens_kernel(
    query, key, offset, sample, groups, weights, tokens, queries, memory, twice_scale, top_k,
    channels: tl.constexpr, padded: tl.constexpr, kept: tl.constexpr, members: tl.constexpr,
):  # fmt: skip
    """Of one query, the softmax weights and numbers of its `top_k` nearest tokens among the members of its groups."""
    row, affinity = tl.program_id(0), tl.program_id(1)
    batch = tl.load(sample + affinity).to(tl.int64)
    place = affinity.to(tl.int64) * queries + row
    member = tl.arange(0, kept * members)
    ranks = tl.load(groups + place * kept + member // members)
    token = _token_of(ranks) * members + member % members
    inside = ((ranks >> 32) != _NONE_HIGH) & (token < memory)
    token = tl.where(inside, token, 0)
    column = tl.arange(0, padded)
    own = tl.load(query + (batch * queries + row) * channels + column, mask=column < channels, other=0.0)
    rows = load_rows(key + batch * memory * channels, token, memory, channels, padded)
    products = tl.sum(rows.to(tl.float32) * own.to(tl.float32)[None, :], axis=1)
    offsets = tl.load(offset + affinity.to(tl.int64) * memory + token, mask=inside, other=float("-inf"))
    left = _ranked(products * twice_scale + offsets, token)
    chosen = tl.full((kept * members,), _NONE, tl.int64)
    for number in range(top_k):
        highest = tl.max(left, axis=0)
        chosen = tl.where(member == number, highest, chosen)
        left = tl.where(left == highest, _NONE, left)
    found = (chosen >> 32) != _NONE_HIGH
    logits = tl.where(found, _logits_of(chosen), float("-inf"))
    largest = tl.max(logits, axis=0)
    weight = tl.exp(logits - tl.where(largest == float("-inf"), 0.0, largest))
    total = tl.sum(weight, axis=0)
    tl.store(weights + place * top_k + member, weight / tl.where(total == 0, 1.0, total), mask=member < top_k)
    tl.store(tokens + place * top_k + member, tl.where(found, _token_of(chosen), 0), mask=member < top_k)


@triton.jit
def _values_kernel(
    value, affinity_of, weights, tokens, readout, queries, width, top_k, objects,
    stride_batch, stride_object, stride_token, stride_width, block: tl.constexpr,
):  # fmt: skip
    """The readout of one query and object: its weighted rows of the values, summed in float32."""
    row, item = tl.program_id(0), tl.program_id(2)
    column = tl.program_id(1) * block + tl.arange(0, block)
    start = value + (item // objects).to(tl.int64) * stride_batch + (item % objects).to(tl.int64) * stride_object
    place = (tl.load(affinity_of + item).to(tl.int64) * queries + row) * top_k
    total = tl.zeros((block,), tl.float32)
    for number in range(top_k):
        token = tl.load(tokens + place + number).to(tl.int64)
        found = tl.load(start + token * stride_token + column * stride_width, mask=column < width, other=0.0)
        total += tl.load(weights + place + number) * found.to(tl.float32)
    tl.store(readout + (item.to(tl.int64) * queries + row) * width + column, total, mask=column < width)


def read_nearest(inputs: KernelInputs, value: Tensor, top_k: int) -> Tensor:
    """The readout (B, K, Q, V) of values (B, K, N, V), in their dtype; zeros where no token may be read."""
    batch, objects, _, width = value.shape
    queries, block = inputs.query.shape[1], min(_WIDTH, triton.next_power_of_2(width))
    weights, tokens = nearest_tokens(inputs, top_k)
    readout = value.new_empty(batch, objects, queries, width)
    _values_kernel[(queries, triton.cdiv(width, block), batch * objects)](
        value, inputs.affinity_of, weights, tokens, readout, queries, width, top_k, objects, *value.stride(),
        block=block,
    )  # fmt: skip
    return readout


def nearest_tokens(inputs: KernelInputs, top_k: int) -> tuple[Tensor, Tensor]:
    """Softmax weights float32 and token numbers int32, both (P, Q, k), of each query's nearest tokens."""
    (_, memory, channels), queries = inputs.key.shape, inputs.query.shape[1]
    affinities, kept = len(inputs.sample), max(16, triton.next_power_of_2(top_k))
    groups = _nearest_groups(inputs, kept)
    weights = torch.empty(affinities, queries, top_k, dtype=torch.float32, device=groups.device)
    tokens = torch.empty_like(weights, dtype=torch.int32)
    _tokens_kernel[(queries, affinities)](
        inputs.query, inputs.key, inputs.offset, inputs.sample, groups, weights, tokens,
        queries, memory, inputs.twice_scale, top_k,
        channels=channels, padded=padded_channels(channels), kept=kept, members=_TOKENS // kept, num_warps=8,
    )  # fmt: skip
    return weights, tokens


def _nearest_groups(inputs: KernelInputs, kept: int) -> Tensor:
    """(P, Q, kept) int64 ranks of the groups with the nearest members, those of all stretches brought together."""
    (_, memory, channels), queries = inputs.key.shape, inputs.query.shape[1]
    tile = tile_queries(inputs.key) // 2
    affinities, blocks = len(inputs.sample), triton.cdiv(queries, tile)
    splits = splits_of(memory, blocks * affinities, _TOKENS)
    found = torch.empty(affinities, queries, splits, kept, dtype=torch.int64, device=inputs.key.device)
    _groups_kernel[(blocks, splits, affinities)](
        inputs.query, inputs.key, inputs.offset, inputs.sample, found, queries, memory,
        stretch_of(memory, splits, _TOKENS), inputs.twice_scale,
        channels=channels, padded=padded_channels(channels), kept=kept, block_q=tile, block_n=_TOKENS, num_warps=8,
    )  # fmt: skip
    return found.flatten(2).topk(kept, dim=2, sorted=False).values
