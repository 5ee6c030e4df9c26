"""The Triton kernels: through the interpreter on a CPU, compiled for GPUs that are not here, and on one that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import interpreted_reads
import pytest
import torch

from flarekit.ops import read_memory, registered
from flarekit.ops.reference import read_memory_reference
from flarekit.ops.triton_inputs import kernel_inputs

TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}


def run_python(program: str) -> str:
    """What a test's program prints in a process of its own, where Triton is imported afresh."""
    environment = os.environ | {"TRITON_INTERPRET": "1" if program.startswith("interpreted") else "0"}
    path = Path(__file__).with_name(program)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def interpreted() -> dict[str, float]:
    pytest.importorskip("triton")
    return json.loads(run_python("interpreted_reads.py"))


@pytest.fixture
def cuda() -> str:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"


@pytest.mark.parametrize("name", interpreted_reads.READS)
def test_interpreted_kernels_agree_with_the_float64_formula(name: str, interpreted: dict[str, float]) -> None:
    assert interpreted[name] < TOLERANCE[interpreted_reads.READS[name][0]]


def test_interpreted_kernels_read_the_first_of_equal_tokens(interpreted: dict[str, list[float]]) -> None:
    assert interpreted["equal"] == pytest.approx([0.0, 3.0])


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_that_are_not_here() -> None:
    pytest.importorskip("triton")
    compiled = json.loads(run_python("compiled_kernels.py"))
    assert set(compiled) == {"80", "90"}
    for kernels in compiled.values():
        assert set(kernels) == {"totals", "weights", "groups", "tokens", "values"}
        assert max(kernels.values()) < 100_000  # bytes of shared memory; an RTX 3090 has 101,376 for a program


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keys_are_centred_only_where_that_is_exact(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    near, far = torch.randn(2, 50, 3, generator=generator), torch.randn(2, 50, 3, generator=generator) + 60
    keys, query = torch.cat((near, far), dim=2).to(dtype), torch.cat((near, far), dim=2)[:, :4].to(dtype)
    inputs = kernel_inputs(keys, query, 1, None, None)
    assert inputs.key.dtype == dtype
    assert torch.equal(inputs.key[..., :3], keys[..., :3])
    shift = (keys[:, :1] - inputs.key[:, :1])[..., 3:].double()
    assert (shift - 60).abs().max() < 1
    assert torch.equal(inputs.key[..., 3:].double() + shift, keys[..., 3:].double())


def test_offsets_are_float32_whatever_the_keys_are() -> None:
    keys = torch.full((1, 4, 16), 3.0, dtype=torch.bfloat16)
    keys[:, ::2] *= -1
    inputs = kernel_inputs(keys, keys[:, :2], 1, None, torch.tensor([[0.0, 0.5]]))
    assert inputs.offset.dtype == torch.float32
    torch.testing.assert_close(inputs.offset, torch.tensor([[-36.0, -36.0, -35.5, -35.5]]))


def test_objects_with_equal_masks_share_an_affinity() -> None:
    keys = torch.randn(2, 6, 5)
    mask = torch.tensor([[[1, 0, 1], [1, 1, 1], [1, 0, 1]], [[0, 0, 0], [1, 0, 1], [0, 0, 0]]]).bool()
    inputs = kernel_inputs(keys, keys[:, :2], 3, mask, None)
    assert len(inputs.sample) == 4
    of = inputs.affinity_of
    assert of[0, 0] == of[0, 2] != of[0, 1] and of[1, 0] == of[1, 2] != of[1, 1]
    assert inputs.sample[of].tolist() == [[0] * 3, [1] * 3]
    readable = (inputs.offset > -torch.inf)[of]
    assert torch.equal(readable, mask.repeat_interleave(2, dim=2))


def test_an_obstacle_to_the_kernels_is_told_once() -> None:
    registered._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            registered._warn_once("Triton is not installed")
    assert [str(w.message) for w in told if "Triton is not installed" in str(w.message)] == [str(told[0].message)]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("top_k", [None, 20])
@pytest.mark.parametrize("channels", [24, 64, 128])
def test_kernels_on_a_gpu_agree_with_the_float64_formula(
    cuda: str, dtype: torch.dtype, top_k: int | None, channels: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 1500, channels), (2, 77, channels), (2, 3, 1500, 130)
    tensors = [torch.randn(s, generator=generator).to(cuda, dtype) for s in shapes]
    mask = (torch.rand(2, 3, 5, generator=generator) > 0.4).to(cuda)
    bias = torch.randn(2, 5, generator=generator).to(cuda)
    for frames in ({}, {"frame_mask": mask, "frame_bias": bias}):
        readout = read_memory(*tensors, top_k=top_k, **frames).double()
        exact = read_memory_reference(*(t.double() for t in tensors), top_k=top_k, **frames)
        assert (readout - exact).norm() / exact.norm() < TOLERANCE[dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("name", interpreted_reads.READS)
def test_kernels_on_a_gpu_agree_on_the_interpreted_reads(cuda: str, name: str) -> None:
    tensors, top_k, frames = interpreted_reads.inputs(name, cuda)
    readout = read_memory(*tensors, top_k=top_k, **frames).double()
    exact = read_memory_reference(*(t.double() for t in tensors), top_k=top_k, **frames)
    assert (readout - exact).norm() / exact.norm() < TOLERANCE[tensors[0].dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("top_k", [None, 20])
def test_kernels_on_a_gpu_hold_no_affinity(cuda: str, top_k: int | None) -> None:
    memory_key, query_key = torch.randn(1, 51200, 64, device=cuda), torch.randn(1, 1024, 64, device=cuda)
    value = torch.randn(1, 1, 51200, 512, device=cuda)
    read_memory(memory_key, query_key, value, top_k=top_k)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    read_memory(memory_key, query_key, value, top_k=top_k)
    affinity_bytes = 4 * 51200 * 1024
    assert torch.cuda.max_memory_allocated() - before < affinity_bytes / 2
