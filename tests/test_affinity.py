"""The memory read against answers worked by hand, and the properties every path of it has to share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flarekit.ops import blockwise
from flarekit.ops.affinity import read_memory

B, K, T, TOKENS, C, Q, V = 2, 3, 4, 5, 6, 7, 8
N = T * TOKENS


def inputs(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((B, N, C), (B, Q, C), (B, K, N, V))
    memory_key, query_key, value = (torch.randn(s, generator=generator, dtype=dtype) for s in shapes)
    return memory_key, query_key, value


def by_definition(memory_key: Tensor, query_key: Tensor, value: Tensor) -> Tensor:
    distance = torch.cdist(query_key.double(), memory_key.double()).square()
    weights = (-distance / math.sqrt(memory_key.shape[-1])).softmax(dim=-1)
    return torch.einsum("bqn,bknv->bkqv", weights, value.double())


def test_one_memory_token_is_what_every_query_reads() -> None:
    value = torch.tensor([[[[3.0, -1.0]], [[5.0, 2.0]]]])
    readout = read_memory(torch.ones(1, 1, 4), torch.randn(1, 3, 4), value)
    torch.testing.assert_close(readout, value.expand(1, 2, 3, 2))


def test_two_tokens_are_weighted_as_worked_by_hand() -> None:
    # One channel, keys 0 and 2, query 0.5: squared distances 0.25 and 2.25, weights e^0 : e^-2.
    memory_key, query_key = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[0.5]]])
    readout = read_memory(memory_key, query_key, torch.tensor([[[[1.0], [0.0]]]]))
    assert readout.item() == pytest.approx(1 / (1 + math.exp(-2)))


def test_the_readout_is_a_softmax_over_negative_squared_distances() -> None:
    readout = read_memory(*inputs()).double()
    torch.testing.assert_close(readout, by_definition(*inputs()), rtol=1e-5, atol=1e-5)


def test_gradients_are_right_in_float64_dense_top_k_and_masked() -> None:
    memory_key, query_key, value = inputs(torch.float64)
    parts = memory_key[:, :8, :3], query_key[:, :2, :3], value[:, :, :8, :2]
    tensors = [part.clone().requires_grad_() for part in parts]
    bias = torch.randn(B, T, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(B, K, T, generator=torch.Generator().manual_seed(1)) > 0.4

    assert torch.autograd.gradcheck(read_memory, tensors)
    assert torch.autograd.gradcheck(lambda *t: read_memory(*t, top_k=3), tensors)
    assert torch.autograd.gradcheck(
        lambda bias, *t: read_memory(*t, frame_mask=mask, frame_bias=bias), (bias, *tensors)
    )


def test_top_k_of_all_tokens_equals_dense() -> None:
    torch.testing.assert_close(read_memory(*inputs(), top_k=N), read_memory(*inputs()))
    torch.testing.assert_close(read_memory(*inputs(), top_k=10 * N), read_memory(*inputs()))


@pytest.mark.parametrize("top_k", [None, 3])
def test_training_and_inference_agree(top_k: int | None) -> None:
    trained = read_memory(*(tensor.requires_grad_() for tensor in inputs()), top_k=top_k)
    assert trained.requires_grad
    torch.testing.assert_close(trained.detach(), read_memory(*inputs(), top_k=top_k))


def test_top_1_reads_the_nearest_token() -> None:
    memory_key, query_key, value = inputs()
    nearest = torch.cdist(query_key, memory_key).argmin(dim=-1)
    expected = torch.stack([value[b][:, nearest[b]] for b in range(B)])
    torch.testing.assert_close(read_memory(memory_key, query_key, value, top_k=1), expected)


@pytest.mark.parametrize("top_k", [1, 3, 19])
def test_of_equally_near_tokens_the_first_are_read(top_k: int) -> None:
    value = torch.arange(40.0)[None, None, :, None]
    readout = read_memory(torch.ones(1, 40, C), torch.randn(1, Q, C), value, top_k=top_k)
    torch.testing.assert_close(readout, torch.full((1, 1, Q, 1), (top_k - 1) / 2))


@pytest.mark.parametrize("top_k", [None, 3])
def test_shifting_all_keys_changes_nothing(top_k: int | None) -> None:
    memory_key, query_key, value = inputs(torch.float64)
    shift = torch.linspace(-30, 30, C, dtype=torch.float64)
    shifted = read_memory(memory_key + shift, query_key + shift, value, top_k=top_k)
    torch.testing.assert_close(shifted, read_memory(memory_key, query_key, value, top_k=top_k))


def test_keys_far_apart_do_not_overflow() -> None:
    memory_key, query_key, value = inputs()
    assert read_memory(memory_key * 1e4, query_key * -1e4, value).isfinite().all()


@pytest.mark.parametrize("top_k", [None, 3, 7])
def test_a_masked_frame_is_as_if_it_were_not_there(top_k: int | None) -> None:
    memory_key, query_key, value = inputs()
    mask = torch.ones(B, K, T, dtype=torch.bool)
    mask[1, 2, :2] = False
    masked = read_memory(memory_key, query_key, value, top_k=top_k, frame_mask=mask)
    without = slice(2 * TOKENS, None)
    alone = read_memory(memory_key[1:, without], query_key[1:], value[1:, 2:, without], top_k=top_k)
    torch.testing.assert_close(masked[1, 2], alone[0, 0])
    whole = read_memory(memory_key, query_key, value, top_k=top_k)
    torch.testing.assert_close(masked[:, :2], whole[:, :2])
    torch.testing.assert_close(masked[0], whole[0])
    assert not torch.allclose(masked[1, 2], whole[1, 2])


@pytest.mark.parametrize("top_k", [None, 3])
def test_an_object_without_a_frame_reads_zeros(top_k: int | None) -> None:
    mask = torch.ones(B, K, T, dtype=torch.bool)
    mask[0, 1] = False
    readout = read_memory(*inputs(), top_k=top_k, frame_mask=mask)
    assert (readout[0, 1] == 0).all()
    assert (readout[0, 0] != 0).any()


def test_a_bias_moves_weight_between_frames() -> None:
    # Equal keys share the weight; a bias of log(3) on the second frame makes it 1 : 3.
    bias = torch.tensor([[0.0, math.log(3)]])
    value = torch.tensor([0.0, 1.0])[None, None, :, None]
    readout = read_memory(torch.zeros(1, 2, C), torch.randn(1, 1, C), value, frame_bias=bias)
    assert readout.item() == pytest.approx(0.75)


@pytest.mark.parametrize("top_k", [None, 3])
def test_blocks_of_queries_equal_the_whole(monkeypatch: pytest.MonkeyPatch, top_k: int | None) -> None:
    whole = read_memory(*inputs(), top_k=top_k)
    monkeypatch.setattr(blockwise, "QUERY_BLOCK", 3)
    torch.testing.assert_close(read_memory(*inputs(), top_k=top_k), whole)


@pytest.mark.parametrize("top_k", [None, 3])
def test_non_contiguous_inputs_read_the_same(top_k: int | None) -> None:
    memory_key, query_key, value = inputs()
    strided = [t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (memory_key, query_key, value)]
    assert not strided[2].is_contiguous()
    torch.testing.assert_close(
        read_memory(*strided, top_k=top_k), read_memory(memory_key, query_key, value, top_k=top_k)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("top_k", [None, N - 1])
def test_half_precision_inputs_are_summed_in_float32(dtype: torch.dtype, top_k: int | None) -> None:
    low = [tensor.to(dtype) for tensor in inputs()]
    readout = read_memory(*low, top_k=top_k)
    assert readout.dtype == dtype
    exact = read_memory(*(tensor.double() for tensor in low), top_k=top_k)
    torch.testing.assert_close(readout, exact.to(dtype))


def test_shapes_that_do_not_fit_are_refused() -> None:
    memory_key, query_key, value = inputs()
    with pytest.raises(ValueError, match="query keys"):
        read_memory(memory_key, query_key[..., :-1], value)
    with pytest.raises(ValueError, match="memory values"):
        read_memory(memory_key, query_key, value[:, :, :-1])
    with pytest.raises(ValueError, match="empty"):
        read_memory(memory_key[:, :0], query_key, value[:, :, :0])
    with pytest.raises(ValueError, match="top_k"):
        read_memory(memory_key, query_key, value, top_k=0)
    with pytest.raises(ValueError, match="20 memory tokens"):
        read_memory(memory_key, query_key, value, frame_bias=torch.zeros(B, 3))
