"""The memory read in plain torch, a block of queries at a time, on any device; and its gradient.

Extra memory is that of a block of queries and a stretch of memory, however long the memory is; the gradient holds
a block's weights over all of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flarekit.ops import dense
from flarekit.ops.backward import Gradients, add_gradients
from flarekit.ops.logits import Reading, readings
from flarekit.ops.nearest import nearest, weighted_rows

QUERY_BLOCK = 256  # query tokens whose nearest memory tokens are found at once


def read_blockwise(
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    top_k: int | None,
    frame_mask: Tensor | None,
    frame_bias: Tensor | None,
) -> Tensor:
    """The readout (B, K, Q, V), contiguous, in the dtype of `memory_value`; arguments as of `read_memory`."""
    batch, objects, memory, width = memory_value.shape
    readout = memory_value.new_zeros(batch, objects, query_key.shape[1], width)
    nearest_k = top_k if top_k is not None and top_k < memory else None
    block = dense.QUERY_BLOCK if nearest_k is None else QUERY_BLOCK
    for reading in readings(memory_key, memory_value, frame_mask, frame_bias):
        values = [memory_value[reading.sample, index] for index in reading.objects]
        for start in range(0, query_key.shape[1], block):
            rows = slice(start, start + block)
            query = reading.centred_query(query_key[reading.sample, rows])
            for index, planes in zip(reading.objects, _read(reading, query, values, nearest_k), strict=True):
                readout[reading.sample, index, rows] = planes
    return readout


def gradients_blockwise(
    gradient: Tensor,
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    top_k: int | None,
    frame_mask: Tensor | None,
    frame_bias: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of memory keys, query keys, memory values and frame bias, from that of the readout (B, K, Q, V).

    That of a bias that was not given is of shape (B, 0).
    """
    dtype = torch.promote_types(torch.promote_types(memory_key.dtype, memory_value.dtype), torch.float32)
    inputs = (memory_key, query_key, memory_value)
    totals = [torch.zeros(tensor.shape, dtype=dtype, device=tensor.device) for tensor in inputs]
    frames = 0 if frame_bias is None else frame_bias.shape[1]
    of_bias = totals[0].new_zeros(len(memory_key), frames)
    for reading in readings(memory_key, memory_value, frame_mask, frame_bias):
        key, query, value = (total[reading.sample] for total in totals)
        bias = of_bias[reading.sample] if frames else of_bias.new_zeros(len(reading.frame_offset))
        sums = Gradients(memory_key=key, query_key=query, memory_value=value, frame_bias=bias)
        given = query_key[reading.sample], memory_value[reading.sample], gradient[reading.sample]
        add_gradients(sums, reading, *given, top_k)
    of_key, of_query, of_value = (total.to(t.dtype) for total, t in zip(totals, inputs, strict=True))
    return of_key, of_query, of_value, of_bias if frame_bias is None else of_bias.to(frame_bias.dtype)


def _read(reading: Reading, query: Tensor, values: list[Tensor], top_k: int | None) -> list[Tensor]:
    """Readouts (q, V), one for each of the values (N, V); of all tokens without `top_k`."""
    if top_k is None:
        return dense.read_all(reading, query, values)
    weights, token = nearest(reading, query, top_k)
    return [weighted_rows(value, weights, token) for value in values]
