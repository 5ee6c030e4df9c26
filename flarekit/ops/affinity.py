"""Reading a key/value memory by distance: the one operation that STCN's training and inference share."""

from __future__ import annotations

from torch import Tensor

from flarekit.ops.registered import read_memory_op


def read_memory(
    memory_key: Tensor,
    query_key: Tensor,
    memory_value: Tensor,
    *,
    top_k: int | None = None,
    frame_mask: Tensor | None = None,
    frame_bias: Tensor | None = None,
) -> Tensor:
    """The readout (B, K, Q, V): for every object, memory values averaged by a softmax over memory tokens.

    The softmax is that of negative squared distances over sqrt(C) (STCN, Cheng et al. 2021, section 3.2).
    `memory_key` (B, N, C), `query_key` (B, Q, C) and `memory_value` (B, K, N, V) hold N = T x tokens memory
    tokens, frame after frame; one affinity serves all K objects. `top_k` keeps the nearest tokens only, the
    first of equally near ones. `frame_mask` (B, K, T) bool says which frames an object may read: one that may
    read none gets a readout of zeros. `frame_bias` (B, T) is added to the logits of a frame's tokens.
    Sums are float32 at least; the readout has the dtype of `memory_value`. The affinity is made in blocks and
    never held whole, with autograd neither; gradients can be had once, not of gradients. On CUDA the Triton
    kernels read (see `flarekit.ops.registered` for what they take). Raises ValueError on shapes that do not fit.
    """
    _check(memory_key, query_key, memory_value, top_k)
    for by_frame, shape in ((frame_mask, memory_value.shape[:2]), (frame_bias, memory_value.shape[:1])):
        if by_frame is not None:
            _check_frames(by_frame, tuple(shape), memory_key.shape[1])
    if frame_mask is not None and frame_bias is not None and frame_mask.shape[-1] != frame_bias.shape[-1]:
        raise ValueError(f"a mask of {frame_mask.shape[-1]} frames, a bias of {frame_bias.shape[-1]}")
    return read_memory_op(memory_key, query_key, memory_value, top_k, frame_mask, frame_bias)


def _check(memory_key: Tensor, query_key: Tensor, memory_value: Tensor, top_k: int | None) -> None:
    batch, tokens, channels = memory_key.shape
    keys = f"memory keys {tuple(memory_key.shape)}"
    if query_key.shape[0] != batch or query_key.shape[2] != channels:
        raise ValueError(f"query keys {tuple(query_key.shape)} do not fit {keys}")
    if memory_value.shape[0] != batch or memory_value.shape[2] != tokens:
        raise ValueError(f"memory values {tuple(memory_value.shape)} do not fit {keys}")
    if tokens == 0:
        raise ValueError("the memory is empty")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is at least 1, got {top_k}")


def _check_frames(by_frame: Tensor, leading: tuple[int, ...], tokens: int) -> None:
    frames = by_frame.shape[-1]
    if tuple(by_frame.shape[:-1]) != leading:
        raise ValueError(f"{tuple(by_frame.shape)} is not {leading} with a number for each frame")
    if tokens % frames:
        raise ValueError(f"{tokens} memory tokens are not a whole number for each of {frames} frames")
