"""Reads through the Triton kernels under Triton's interpreter, which is chosen when Triton is imported.

`python interpreted_reads.py` prints, for every read in READS, the relative error against the float64 formula and
whether equal tokens came first. bfloat16 is not among them: the interpreter multiplies it wrongly.
"""

from __future__ import annotations

import json
import os
import sys

import torch
from torch import Tensor

# name: dtype, top_k, (B, K, T, tokens a frame, C, Q, V), masks and bias, mean of the keys
READS: dict[str, tuple[torch.dtype, int | None, tuple[int, ...], bool, float]] = {
    "dense float32 masked": (torch.float32, None, (2, 3, 4, 25, 6, 17, 9), True, 0.0),
    "dense float16 masked": (torch.float16, None, (2, 3, 4, 25, 6, 17, 9), True, 0.0),
    "dense float32 long": (torch.float32, None, (1, 2, 1, 1000, 64, 100, 40), False, 3.0),
    "dense float16 far": (torch.float16, None, (1, 2, 1, 1000, 64, 33, 40), False, 30.0),
    "dense float16 flat": (torch.float16, None, (1, 1, 1, 1000, 2, 33, 40), False, 0.0),
    "nearest float32 masked": (torch.float32, 5, (1, 3, 4, 25, 6, 7, 9), True, 0.0),
    "nearest float16 masked": (torch.float16, 5, (1, 3, 4, 25, 6, 7, 9), True, 0.0),
    "nearest float32 long": (torch.float32, 20, (1, 2, 1, 1000, 64, 3, 40), False, 3.0),
    "nearest float16 batch": (torch.float16, 3, (2, 1, 1, 300, 17, 4, 5), False, 0.0),
}


def inputs(name: str, device: str = "cpu") -> tuple[list[Tensor], int | None, dict[str, Tensor]]:
    """Keys, query keys and values of that read, its k, and its masks and bias."""
    dtype, top_k, (batch, objects, frames, tokens, channels, queries, width), framed, mean = READS[name]
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, frames * tokens, channels), (batch, queries, channels), (batch, objects, frames * tokens, width)
    tensors = [torch.randn(s, generator=generator) for s in shapes]
    tensors = [(t + mean * (t.ndim == 3)).to(device, dtype) for t in tensors]
    if not framed:
        return tensors, top_k, {}
    mask = torch.rand(batch, objects, frames, generator=generator) > 0.4
    mask[0, 0] = False
    bias = torch.randn(batch, frames, generator=generator)
    return tensors, top_k, {"frame_mask": mask.to(device), "frame_bias": bias.to(device)}


def relative_error(name: str) -> float:
    """How far the kernels' readout is from the float64 formula, in the Frobenius norm."""
    from flarekit.ops.reference import read_memory_reference
    from flarekit.ops.triton_read import read_with_kernels

    tensors, top_k, frames = inputs(name)
    readout = read_with_kernels(*tensors, top_k, frames.get("frame_mask"), frames.get("frame_bias"))
    exact = read_memory_reference(*(t.double() for t in tensors), top_k=top_k, **frames)
    return float((readout.double() - exact).norm() / exact.norm())


def first_of_equal_tokens() -> list[float]:
    """What one query reads of 300 equal tokens whose values are their numbers, for k of 1 and 7: means of 0..k-1."""
    from flarekit.ops.triton_read import read_with_kernels

    value = torch.arange(300.0)[None, None, :, None]
    keys = torch.ones(1, 300, 4), torch.zeros(1, 1, 4)
    return [read_with_kernels(*keys, value, top_k, None, None).item() for top_k in (1, 7)]


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)
    from flarekit.ops import triton_softmax

    triton_softmax.PROGRAMS = 2  # so that a program's stretch of memory is of several tiles
    json.dump({name: relative_error(name) for name in READS} | {"equal": first_of_equal_tokens()}, sys.stdout)
