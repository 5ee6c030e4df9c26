"""Compiles every Triton kernel, float32 for Ampere and float16 for Hopper, which needs no GPU; prints their costs."""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from flarekit.ops import triton_nearest, triton_softmax

FIXED = {"offset": "*fp32", "sample": "*i32", "affinity_of": "*i32", "log_total": "*fp32", "tokens": "*i32"}
FIXED |= {"groups": "*i64", "found": "*i64", "twice_scale": "fp32", "weight_scale": "fp32"}
OF_DTYPE = ("query", "key", "value", "readout")


def shared_bytes(kernel: Any, dtype: str, capability: int, warps: int, weights: str, **constants: int) -> int:
    """Bytes of shared memory of one program of the kernel, compiled for a compute capability."""
    kinds = (
        FIXED
        | dict.fromkeys(OF_DTYPE, f"*{dtype}")
        | {"weights": f"*{weights}"}
        | dict.fromkeys(constants, "constexpr")
    )
    signature = {name: kinds.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): v for name, v in constants.items()})
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps}).metadata.shared


def all_kernels(capability: int, dtype: str, queries: int) -> dict[str, int]:
    """Shared memory by kernel, in the tiles that STCN's 64 channels and top 20 are read with."""
    keys = {"channels": 64, "padded": 64}
    softmax = (dtype, capability, triton_softmax.warps_of(queries), dtype)
    nearest = (dtype, capability, 8, "fp32")
    tile = {"block_q": queries, "block_n": triton_softmax._TOKENS}
    groups = {"block_q": queries // 2, "block_n": triton_nearest._TOKENS, "kept": 32}
    return {
        "totals": shared_bytes(triton_softmax._log_total_kernel, *softmax, **keys, **tile),
        "weights": shared_bytes(triton_softmax._weights_kernel, *softmax, **keys, **tile),
        "groups": shared_bytes(triton_nearest._groups_kernel, *nearest, **keys, **groups),
        "tokens": shared_bytes(triton_nearest._tokens_kernel, *nearest, **keys, kept=32, members=8),
        "values": shared_bytes(triton_nearest._values_kernel, dtype, capability, 4, "fp32", block=512),
    }


if __name__ == "__main__":
    json.dump({"80": all_kernels(80, "fp32", 32), "90": all_kernels(90, "fp16", 64)}, sys.stdout)
