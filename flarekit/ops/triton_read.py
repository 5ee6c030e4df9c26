"""The memory read through the Triton kernels. Imported on the first read on CUDA."""

from __future__ import annotations

from torch import Tensor

from flarekit.ops.triton_inputs import kernel_inputs
from flarekit.ops.triton_nearest import read_nearest
from flarekit.ops.triton_softmax import read_all


def read_with_kernels(
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    top_k: int | None,
    frame_mask: Tensor | None,
    frame_bias: Tensor | None,
) -> Tensor:
    """The readout (B, K, Q, V), contiguous, in the dtype of `memory_value`; arguments as of `read_memory`.

    What the kernels take is said by `flarekit.ops.registered.why_no_kernel`.
    """
    inputs = kernel_inputs(memory_key, query_key, memory_value.shape[1], frame_mask, frame_bias)
    if top_k is None or top_k >= memory_key.shape[1]:
        return read_all(inputs, memory_value)
    return read_nearest(inputs, memory_value, top_k)
