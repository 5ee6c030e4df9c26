"""The memory read as an operator of torch's own registry, so that autograd, torch.compile and export know it.

`flarekit::read_memory` reads with the Triton kernels on CUDA and in plain torch elsewhere;
`flarekit::read_memory_backward` is plain torch on every device.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from flarekit.ops.blockwise import gradients_blockwise, read_blockwise

Result = TypeVar("Result")

_INPUTS = "Tensor memory_key, Tensor query_key, Tensor memory_value, int? top_k, Tensor? frame_mask, Tensor? frame_bias"
_KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_MOST_CHANNELS, _LARGEST_TOP_K = 128, 128  # what the kernels' tiles are laid out for
_OLDEST_CAPABILITY = (8, 0)  # Ampere: the first with bfloat16
_WIDE_FLOAT32 = ((8, 0), (9, 0), (10, 0), (10, 3))  # GPUs with shared memory for float32 keys of over 64 channels

# `define` and `impl` rather than `custom_op`, whose first call imports all of torch.compile: two seconds.
torch.library.define("flarekit::read_memory", f"({_INPUTS}) -> Tensor")
torch.library.define(
    "flarekit::read_memory_backward", f"(Tensor gradient, {_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)"
)
read_memory_op = torch.ops.flarekit.read_memory.default
read_memory_backward_op = torch.ops.flarekit.read_memory_backward.default


def _without_autocast(work: Callable[..., Result]) -> Callable[..., Result]:
    """`work` on tensors as they were given: autocast lowers single products, also inside of an operator."""

    @functools.wraps(work)
    def run(first: Tensor, *others: Any) -> Result:
        with torch.autocast(first.device.type, enabled=False):
            return work(first, *others)

    return run


def why_no_kernel(
    *dtypes: torch.dtype,
    channels: int,
    top_k: int | None,
    capability: tuple[int, int],
    triton_found: bool,
    compiler_found: bool,
) -> str | None:
    """Why the Triton kernels cannot take such a read on CUDA; None if they can."""
    if not triton_found:
        return "Triton is not installed"
    if not compiler_found:
        return "Triton finds no C compiler, gcc or clang, to build its link to the driver with"
    if capability < _OLDEST_CAPABILITY:
        return f"the GPU is of compute capability {capability[0]}.{capability[1]}, below 8.0"
    if not set(dtypes) <= set(_KERNEL_DTYPES):
        return f"the kernels take float32, float16 and bfloat16, not {', '.join(map(str, dtypes))}"
    if channels > _MOST_CHANNELS:
        return f"keys have {channels} channels, the kernels take {_MOST_CHANNELS}"
    if torch.float32 in dtypes and channels > 64 and capability not in _WIDE_FLOAT32:
        return f"a GPU of compute capability {capability[0]}.{capability[1]} takes float32 keys of 64 channels at most"
    if top_k is not None and top_k > _LARGEST_TOP_K:
        return f"top_k is {top_k}, the kernels go to {_LARGEST_TOP_K}"
    return None


def _read_on_cuda(
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    top_k: int | None,
    frame_mask: Tensor | None,
    frame_bias: Tensor | None,
) -> Tensor:
    inputs = (memory_key, query_key, memory_value, top_k, frame_mask, frame_bias)
    obstacle = why_no_kernel(
        memory_key.dtype,
        query_key.dtype,
        memory_value.dtype,
        channels=memory_key.shape[2],
        top_k=top_k if top_k is None or top_k < memory_key.shape[1] else None,
        capability=torch.cuda.get_device_capability(memory_key.device),
        triton_found=importlib.util.find_spec("triton") is not None,
        compiler_found=_finds_compiler(),
    )
    if obstacle is not None:
        _warn_once(obstacle)
        return read_blockwise(*inputs)
    from flarekit.ops.triton_read import read_with_kernels

    return read_with_kernels(*inputs)


@functools.cache
def _finds_compiler() -> bool:
    """Whether Triton, which has none of its own, finds a C compiler where it looks for one."""
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


@functools.cache
def _warn_once(obstacle: str) -> None:
    warnings.warn(f"reading the memory in plain torch, slower than with kernels: {obstacle}", stacklevel=2)


def _fake_readout(memory_key: Tensor, query_key: Tensor, memory_value: Tensor, *_: Any) -> Tensor:
    batch, objects, _tokens, width = memory_value.shape
    return memory_value.new_empty(batch, objects, query_key.shape[1], width)


def _fake_gradients(
    gradient: Tensor,
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    top_k: int | None,
    frame_mask: Tensor | None,
    frame_bias: Tensor | None,
) -> tuple[Tensor, ...]:
    wider = torch.promote_types(torch.promote_types(memory_key.dtype, memory_value.dtype), torch.float32)
    no_bias = memory_key.new_empty(len(memory_key), 0, dtype=wider)
    like = (memory_key, query_key, memory_value, no_bias if frame_bias is None else frame_bias)
    return tuple(tensor.new_empty(tensor.shape) for tensor in like)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    memory_key, query_key, memory_value, ctx.top_k, frame_mask, frame_bias = inputs
    ctx.save_for_backward(memory_key, query_key, memory_value, frame_mask, frame_bias)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    memory_key, query_key, memory_value, frame_mask, frame_bias = ctx.saved_tensors
    of_key, of_query, of_value, of_bias = read_memory_backward_op(
        gradient, memory_key, query_key, memory_value, ctx.top_k, frame_mask, frame_bias
    )
    return of_key, of_query, of_value, None, None, None if frame_bias is None else of_bias


torch.library.impl("flarekit::read_memory", "default", _without_autocast(read_blockwise))
torch.library.impl("flarekit::read_memory", "cuda", _without_autocast(_read_on_cuda))
torch.library.impl("flarekit::read_memory_backward", "default", _without_autocast(gradients_blockwise))
torch.library.register_fake(read_memory_op, _fake_readout)
torch.library.register_fake(read_memory_backward_op, _fake_gradients)
torch.library.register_autograd(read_memory_op, _backward, setup_context=_remember)
