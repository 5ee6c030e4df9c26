"""The memory read against answers worked by hand, and the properties every path of it has to share."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flarekit.ops import backward, blockwise, dense, logits, nearest
from flarekit.ops.affinity import read_memory
from flarekit.ops.reference import read_memory_reference
from flarekit.ops.registered import read_memory_backward_op, read_memory_op, why_no_kernel

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


def masks_and_bias() -> dict[str, Tensor]:
    """A mask with an object that reads nothing and two that read the same, and a bias for every frame."""
    mask = torch.rand(B, K, T, generator=torch.Generator().manual_seed(1)) > 0.4
    mask[0, 1], mask[1, 2] = False, mask[1, 0]
    return {"frame_mask": mask, "frame_bias": torch.linspace(-2, 1, B * T).view(B, T)}


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, stretches and groups of a few tokens, none of which divides the memory."""
    monkeypatch.setattr(blockwise, "QUERY_BLOCK", 3)
    monkeypatch.setattr(backward, "QUERY_BLOCK", 3)
    monkeypatch.setattr(backward, "VALUE_STRETCH", 7)
    monkeypatch.setattr(dense, "QUERY_BLOCK", 3)
    monkeypatch.setattr(dense, "MEMORY_STRETCH", 7)
    monkeypatch.setattr(nearest, "MEMORY_STRETCH", 9)
    monkeypatch.setattr(nearest, "GROUP", 2)


def gradients_of(read: Callable[..., Tensor], top_k: int | None, **frames: Tensor) -> tuple[Tensor, ...]:
    """Gradients of keys, values and bias of a weighted sum of the readout."""
    tensors = [tensor.requires_grad_() for tensor in (*inputs(), frames["frame_bias"])]
    readout = read(*tensors[:3], top_k=top_k, frame_mask=frames["frame_mask"], frame_bias=tensors[3])
    return torch.autograd.grad((readout * torch.linspace(-1, 1, V)).sum(), tensors)


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [t.numel() for t in tree_leaves(result) if isinstance(t, Tensor)]
        self.elements = max(self.elements, *made, 0)
        return result


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


@pytest.mark.parametrize("top_k", [None, 3, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks_and_stretches_equal_the_formula(
    monkeypatch: pytest.MonkeyPatch, top_k: int | None, masked: bool
) -> None:
    frames = masks_and_bias() if masked else {}
    expected = read_memory_reference(*inputs(), top_k=top_k, **frames)
    torch.testing.assert_close(read_memory(*inputs(), top_k=top_k, **frames), expected)
    cut_small(monkeypatch)
    torch.testing.assert_close(read_memory(*inputs(), top_k=top_k, **frames), expected)


@pytest.mark.parametrize("top_k", [None, 3])
def test_gradients_of_blocks_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch, top_k: int | None) -> None:
    cut_small(monkeypatch)
    found = gradients_of(read_memory, top_k, **masks_and_bias())
    for mine, formula in zip(found, gradients_of(read_memory_reference, top_k, **masks_and_bias()), strict=True):
        torch.testing.assert_close(mine, formula)


@pytest.mark.parametrize("top_k", [None, 3])
def test_the_operator_passes_the_checks_of_torch_library(top_k: int | None) -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs()]
    frames = masks_and_bias()
    arguments = (*tensors, top_k, frames["frame_mask"], frames["frame_bias"].requires_grad_())
    torch.library.opcheck(read_memory_op, arguments)
    torch.library.opcheck(read_memory_op, (*(tensor.detach().half() for tensor in tensors), top_k, None, None))
    gradient = torch.randn(B, K, Q, V)
    torch.library.opcheck(read_memory_backward_op, (gradient, *(t.detach() for t in tensors), top_k, None, None))


def test_a_read_can_be_traced_with_unknown_sizes() -> None:
    memory_key, query_key, value = (tensor.to("meta") for tensor in inputs())
    readout = read_memory(memory_key, query_key, value, top_k=3)
    assert readout.shape == (B, K, Q, V)
    assert readout.is_contiguous()


def test_the_affinity_is_never_held_whole_with_or_without_gradients() -> None:
    memory, queries = 3000, 700
    generator = torch.Generator().manual_seed(0)
    shapes = (1, memory, 4), (1, queries, 4), (1, 2, memory, 3)
    tensors = [torch.randn(s, generator=generator, requires_grad=True) for s in shapes]
    for top_k in (None, 5):
        with LargestTensor() as seen:
            read_memory(*tensors, top_k=top_k).sum().backward()
        assert 0 < seen.elements <= blockwise.QUERY_BLOCK * memory < queries * memory


def test_frames_that_nothing_reads_are_neither_averaged_nor_touched() -> None:
    mask = torch.zeros(1, 1, T, dtype=torch.bool)
    mask[0, 0, 1] = True
    memory_key, query_key, value = (tensor[:1] for tensor in inputs())
    hidden = torch.ones(N, dtype=torch.bool)
    hidden[TOKENS : 2 * TOKENS] = False
    memory_key[:, hidden], value[:, :, hidden] = torch.nan, torch.nan
    (reading,) = logits.readings(memory_key, value[:, :1], mask, None)
    assert list(reading.stretches(TOKENS)) == [slice(TOKENS, 2 * TOKENS)]
    assert reading.mean.isfinite().all()


def test_ranks_order_by_logit_then_by_token_and_give_both_back() -> None:
    values = torch.tensor([-torch.inf, -2.5, -0.0, 0.0, 1e-30, 3.0, 3.0, torch.inf])
    tokens = torch.tensor([7, 6, 4, 5, 3, 2, 1, 0])
    ranks = nearest.ranked(values, tokens)
    assert ranks.argsort(descending=True).tolist() == [7, 6, 5, 4, 2, 3, 1, 0]
    assert torch.equal(nearest.unranked_logits(ranks), values)
    assert torch.equal(nearest.unranked_tokens(ranks), tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_among_many_equal_tokens_of_air_the_first_are_read(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    cut_small(monkeypatch)
    # Sixteen tokens of four whole-numbered channels: the mean and every logit are exact, whatever sums them.
    generator = torch.Generator().manual_seed(0)
    memory_key = torch.randint(-4, 5, (1, 16, 4), generator=generator).to(dtype)
    memory_key[:, 2:14] = memory_key[:, 2:3]  # twelve equal tokens, in several groups and stretches
    query_key = torch.randint(-4, 5, (1, Q, 4), generator=generator).to(dtype)
    query_key[:, ::2] = memory_key[:, 2:3]
    value = torch.randn(1, K, 16, V, generator=generator, dtype=dtype)
    for top_k in (1, 2, 5, 11):
        expected = read_memory_reference(memory_key, query_key, value, top_k=top_k)
        torch.testing.assert_close(read_memory(memory_key, query_key, value, top_k=top_k), expected)


def test_keys_far_from_zero_are_read_as_precisely() -> None:
    memory_key, query_key, value = inputs()
    memory_key, query_key = memory_key + 1000, query_key + 1000
    exact = by_definition(memory_key, query_key, value)
    torch.testing.assert_close(read_memory(memory_key, query_key, value).double(), exact, rtol=1e-5, atol=1e-5)


def test_a_key_that_is_no_number_shows_in_the_readout() -> None:
    memory_key, query_key, value = inputs()
    memory_key[0, 4, 1] = torch.nan
    assert read_memory(memory_key, query_key, value, top_k=3)[0].isnan().all()
    assert read_memory(memory_key, query_key, value)[0].isnan().all()


def test_what_the_kernels_cannot_take_is_named() -> None:
    fits = {"channels": 64, "top_k": 20, "capability": (9, 0), "triton_found": True, "compiler_found": True}
    assert why_no_kernel(torch.float16, **fits) is None
    assert why_no_kernel(torch.bfloat16, torch.float32, **(fits | {"top_k": None})) is None
    assert "not installed" in str(why_no_kernel(torch.float16, **(fits | {"triton_found": False})))
    assert "C compiler" in str(why_no_kernel(torch.float16, **(fits | {"compiler_found": False})))
    assert "7.5" in str(why_no_kernel(torch.float16, **(fits | {"capability": (7, 5)})))
    assert "float64" in str(why_no_kernel(torch.float64, **fits))
    assert "129" in str(why_no_kernel(torch.float16, **(fits | {"channels": 129})))
    wide = fits | {"channels": 128}
    assert why_no_kernel(torch.float32, **wide) is None
    assert "64 channels" in str(why_no_kernel(torch.float32, **(wide | {"capability": (8, 6)})))
    assert why_no_kernel(torch.float16, **(wide | {"capability": (8, 6)})) is None
    assert "200" in str(why_no_kernel(torch.float16, **(fits | {"top_k": 200})))


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


@pytest.mark.parametrize("top_k", [None, 3])
def test_autocast_does_not_lower_the_sums(top_k: int | None) -> None:
    exact = gradients_of(read_memory, top_k, **masks_and_bias())
    expected = read_memory_reference(*inputs(), top_k=top_k)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(read_memory(*inputs(), top_k=top_k), expected)
        for lowered, full in zip(gradients_of(read_memory, top_k, **masks_and_bias()), exact, strict=True):
            torch.testing.assert_close(lowered, full)


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
