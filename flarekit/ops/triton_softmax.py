"""Reading all memory tokens on CUDA: softmax weights by two Triton kernels, the values by the library's product.

The first kernel streams over the memory and leaves one number a query, the log of the softmax's denominator; the
second writes the weights of a block of queries, which one product per object reads. The logits are never in memory
and never below float32; recomputing them costs C / V of the product. A product that makes its own weights as it
goes would make them again for every object and every tile of V.
Shapes: any N and Q, C up to 128. dtypes: float32 (IEEE products), float16, bfloat16.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from flarekit.ops.triton_inputs import KernelInputs

WEIGHTS_HELD = 1 << 24  # weights of one block of queries: 32 MiB in half precision
FEWEST_QUERIES = 64  # in such a block, however long the memory is
PROGRAMS = 512  # to spread over a GPU's multiprocessors, by splitting the memory
WEIGHT_SCALE = 32.0  # a power of two that keeps weights of 1/N out of float16's subnormal numbers
_TOKENS = 64  # of one tile


@triton.jit
def load_rows(pointer, rows, limit, channels: tl.constexpr, padded: tl.constexpr):
    """(rows, padded) of a row-major matrix, zero outside of it."""
    column = tl.arange(0, padded)
    inside = (rows[:, None] < limit) & (column[None, :] < channels)
    return tl.load(pointer + rows[:, None].to(tl.int64) * channels + column[None, :], mask=inside, other=0.0)


@triton.jit
def tile_logits(query, key, offset, tokens, memory, twice_scale, channels: tl.constexpr, padded: tl.constexpr):
    """(q, n) float32 logits of loaded queries (q, padded), -inf beyond the memory."""
    rows = load_rows(key, tokens, memory, channels, padded)
    products = tl.dot(query, tl.trans(rows), input_precision="ieee")
    return products * twice_scale + tl.load(offset + tokens, mask=tokens < memory, other=float("-inf"))[None, :]


@triton.jit
def _log_total_kernel(
    query, key, offset, sample, log_total, queries, memory, stretch, twice_scale,
    channels: tl.constexpr, padded: tl.constexpr, block_q: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """Of each affinity and query, the log of the sum of exponentials over one stretch of the memory."""
    split, affinity = tl.program_id(1), tl.program_id(2)
    batch = tl.load(sample + affinity).to(tl.int64)
    rows = tl.program_id(0) * block_q + tl.arange(0, block_q)
    loaded = load_rows(query + batch * queries * channels, rows, queries, channels, padded)
    keys, offsets = key + batch * memory * channels, offset + affinity.to(tl.int64) * memory
    largest = tl.full((block_q,), float("-inf"), tl.float32)
    total = tl.zeros((block_q,), tl.float32)
    for start in range(split * stretch, tl.minimum(memory, (split + 1) * stretch), block_n):
        tokens = start + tl.arange(0, block_n)
        logits = tile_logits(loaded, keys, offsets, tokens, memory, twice_scale, channels, padded)
        newest = tl.maximum(largest, tl.max(logits, axis=1))
        shift = tl.where(newest == float("-inf"), 0.0, newest)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(logits - shift[:, None]), axis=1)
        largest = newest
    place = (affinity.to(tl.int64) * tl.num_programs(1) + split) * queries + rows
    tl.store(log_total + place, largest + tl.log(total), mask=rows < queries)


@triton.jit
def _weights_kernel(
    query, key, offset, log_total, weights, queries, memory, twice_scale, weight_scale,
    channels: tl.constexpr, padded: tl.constexpr, block_q: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """The weights (queries, memory) of one block of queries of one affinity, times `weight_scale`."""
    tokens = tl.program_id(0) * block_n + tl.arange(0, block_n)
    rows = tl.program_id(1) * block_q + tl.arange(0, block_q)
    loaded = load_rows(query, rows, queries, channels, padded)
    logits = tile_logits(loaded, key, offset, tokens, memory, twice_scale, channels, padded)
    total = tl.load(log_total + rows, mask=rows < queries, other=0.0)
    shift = tl.where(total == float("-inf"), 0.0, total)
    found = tl.exp(logits - shift[:, None]) * weight_scale
    place = weights + rows[:, None].to(tl.int64) * memory + tokens[None, :]
    tl.store(place, found, mask=(rows[:, None] < queries) & (tokens[None, :] < memory))


def read_all(inputs: KernelInputs, value: Tensor) -> Tensor:
    """The readout (B, K, Q, V) of values (B, K, N, V), in their dtype; zeros where no token may be read."""
    batch, objects, memory, width = value.shape
    queries = inputs.query.shape[1]
    readout = value.new_empty(batch, objects, queries, width)
    log_total = log_totals(inputs)
    block = _queries_at_once(queries, memory)
    affinity_of = inputs.affinity_of.flatten().tolist()
    readers = [[i for i, own in enumerate(affinity_of) if own == a] for a in range(len(log_total))]
    for affinity, indices in enumerate(readers):
        for start in range(0, queries, block):
            rows = slice(start, min(start + block, queries))
            weights = softmax_weights(inputs, affinity, indices[0] // objects, rows, log_total, value.dtype)
            for index in indices:
                out = readout[index // objects, index % objects, rows]
                own = value[index // objects, index % objects]
                out.addmm_(weights, own, beta=0, alpha=1 / WEIGHT_SCALE)
    return readout


def log_totals(inputs: KernelInputs) -> Tensor:
    """(P, Q) float32: of each affinity and query, the log of the softmax's denominator; -inf of no token at all."""
    (_, memory, channels), queries = inputs.key.shape, inputs.query.shape[1]
    tile = tile_queries(inputs.key)
    affinities, blocks = len(inputs.sample), triton.cdiv(queries, tile)
    splits = splits_of(memory, blocks * affinities, _TOKENS)
    parts = torch.empty(affinities, splits, queries, dtype=torch.float32, device=inputs.key.device)
    _log_total_kernel[(blocks, splits, affinities)](
        inputs.query, inputs.key, inputs.offset, inputs.sample, parts, queries, memory,
        stretch_of(memory, splits, _TOKENS), inputs.twice_scale,
        channels=channels, padded=padded_channels(channels), block_q=tile, block_n=_TOKENS, num_warps=warps_of(tile),
    )  # fmt: skip
    return parts.logsumexp(dim=1)


def softmax_weights(
    inputs: KernelInputs, affinity: int, sample: int, rows: slice, log_total: Tensor, dtype: torch.dtype
) -> Tensor:
    """(q, N) softmax weights of a block of one sample's queries, times WEIGHT_SCALE."""
    (_, memory, channels), queries = inputs.key.shape, rows.stop - rows.start
    tile = tile_queries(inputs.key)
    weights = torch.empty(queries, memory, dtype=dtype, device=inputs.key.device)
    _weights_kernel[(triton.cdiv(memory, _TOKENS), triton.cdiv(queries, tile))](
        inputs.query[sample, rows], inputs.key[sample], inputs.offset[affinity], log_total[affinity, rows], weights,
        queries, memory, inputs.twice_scale, WEIGHT_SCALE,
        channels=channels, padded=padded_channels(channels), block_q=tile, block_n=_TOKENS, num_warps=warps_of(tile),
    )  # fmt: skip
    return weights


def tile_queries(key: Tensor) -> int:
    """Queries of one tile: IEEE products of float32 are made in registers, which larger tiles overflow."""
    return 64 if key.dtype.itemsize == 2 else 32


def warps_of(queries: int) -> int:
    """Four warps make a tensor-core tile of 64 queries; smaller ones, of float32, are spread over eight."""
    return 4 if queries == 64 else 8


def padded_channels(channels: int) -> int:
    """The next power of two, 16 or more: what a tile's product is made of."""
    return max(16, triton.next_power_of_2(channels))


def splits_of(memory: int, programs: int, block: int) -> int:
    """In how many stretches to read the memory so that about PROGRAMS programs run at once."""
    return max(1, min(PROGRAMS // max(1, programs), triton.cdiv(memory, block)))


def stretch_of(memory: int, splits: int, block: int) -> int:
    """Tokens of one such stretch: whole blocks."""
    return triton.cdiv(triton.cdiv(memory, splits), block) * block


def _queries_at_once(queries: int, memory: int) -> int:
    """Queries of a block: blocks of nearly one size that hold about WEIGHTS_HELD weights each."""
    most = max(FEWEST_QUERIES, WEIGHTS_HELD // memory)
    return triton.cdiv(triton.cdiv(queries, triton.cdiv(queries, most)), FEWEST_QUERIES) * FEWEST_QUERIES
