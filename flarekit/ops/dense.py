"""Reading all memory tokens: an online softmax over stretches of memory (Milakov and Gimelshein, 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flarekit.ops.logits import Reading

QUERY_BLOCK = 1024  # query tokens read at once: the values are packed for a product as rarely as their width allows
MEMORY_STRETCH = 1024  # memory tokens whose weights are held at once for a block of queries
_PER_BIT = 1 / math.log(2)  # logits of a softmax to base 2, whose powers are cheaper


def read_all(reading: Reading, centred_query: Tensor, values: list[Tensor]) -> list[Tensor]:
    """Readouts (q, V) of queries (q, C), one for each of the values (N, V), in the dtype of the queries."""
    sums = [centred_query.new_zeros(len(centred_query), value.shape[1]) for value in values]
    total = centred_query.new_zeros(len(centred_query), 1)
    largest = torch.full_like(total, -torch.inf)
    for tokens in reading.stretches(MEMORY_STRETCH):
        logits = reading.logits(centred_query, tokens, unit=_PER_BIT)
        before, largest = largest, torch.maximum(largest, logits.amax(dim=1, keepdim=True))
        weights = logits.sub_(largest).exp2_()
        fade = (before - largest).exp2_()
        total.mul_(fade).add_(weights.sum(dim=1, keepdim=True))
        for readout, value in zip(sums, values, strict=True):
            readout.mul_(fade).addmm_(weights, value[tokens].to(weights.dtype))
    return [readout.div_(total) for readout in sums]
