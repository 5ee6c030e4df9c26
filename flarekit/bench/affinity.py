"""The memory read beside what it replaces: the published formula, compiled or not, and torch's attention.

The sizes are STCN's: frames of 32 x 32 tokens, keys of 64 channels, 512 values a token and object.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flarekit.bench.memory import extra_memory_bytes
from flarekit.bench.timing import timed
from flarekit.ops import read_memory
from flarekit.ops.reference import read_memory_reference

TOKENS, CHANNELS, WIDTH = 1024, 64, 512
FRAMES, OBJECTS = (5, 20, 50), (1, 13)
TOP_K = 20
DTYPES = ("float32", "float16", "bfloat16")
LONG_S = 1.0
CHECKED_QUERIES = 16  # that are compared with float64, of the first object


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size of memory read."""

    frames: int  # of TOKENS tokens each
    objects: int  # that share the affinity
    top_k: int | None  # None reads all tokens
    dtype: str = "float32"  # of keys and values, one of DTYPES


@dataclass(frozen=True, kw_only=True)
class ReadCost:
    """What one way of reading costs."""

    case: Case  # the size
    method: str  # flarekit, formula, compiled or attention
    time_s: float  # median of the runs
    extra_bytes: int | None  # at the peak, the readout itself included; None where the system does not say
    error: float  # relative to float64, in the Frobenius norm


Tensors = tuple[Tensor, Tensor, Tensor]
Method = Callable[[Tensor, Tensor, Tensor, int | None], Callable[[], Tensor]]


def grid(
    frames: Iterable[int] = FRAMES, objects: Iterable[int] = OBJECTS, dtypes: Iterable[str] = ("float32",)
) -> list[Case]:
    """Every dtype and size, from small to large, over all tokens and over the nearest."""
    sizes = list(itertools.product(dtypes, frames, objects, (None, TOP_K)))
    return [Case(frames=f, objects=k, top_k=top_k, dtype=dtype) for dtype, f, k, top_k in sizes]


def bench_affinity(
    cases: Iterable[Case], *, device: torch.device | str = "cpu", compiled: bool = False, runs: int = 3
) -> Iterator[ReadCost]:
    """The cost of every method that can do a case, case after case; `compiled` adds the formula under torch.compile."""
    for case in cases:
        tensors = _tensors(case, device)
        exact = _exact(*tensors, case.top_k)
        for name, method in _methods(case, compiled).items():
            with torch.inference_mode():
                yield _cost(case, name, method(*tensors, case.top_k), exact, device, runs)


def _cost(
    case: Case, name: str, work: Callable[[], Tensor], exact: Tensor, device: torch.device | str, runs: int
) -> ReadCost:
    """One run warms up and is compared; what takes long is timed once more, anything else `runs` times."""
    found, timings = [], []
    warm = timed(lambda: found.append(work()[0, 0, :CHECKED_QUERIES].double()), runs=1, warmup=0, device=device)
    again = 1 if warm.fastest_s > LONG_S else runs
    extra_bytes = extra_memory_bytes(lambda: timings.append(timed(work, runs=again, warmup=0, device=device)), device)
    error = float((found[0] - exact).norm() / exact.norm())
    return ReadCost(case=case, method=name, time_s=timings[0].median_s, extra_bytes=extra_bytes, error=error)


def _tensors(case: Case, device: torch.device | str) -> Tensors:
    """Random memory keys, query keys and memory values of a case, the same every time."""
    generator, memory = torch.Generator().manual_seed(0), case.frames * TOKENS
    key, query, value = (
        torch.randn(shape, generator=generator).to(device, getattr(torch, case.dtype))
        for shape in ((1, memory, CHANNELS), (1, TOKENS, CHANNELS), (1, case.objects, memory, WIDTH))
    )
    return key, query, value


def costs_to_json(costs: list[ReadCost]) -> dict[str, Any]:
    """The sizes that all share, and every read with how many times faster it was than the formula's."""
    formula_s = {cost.case: cost.time_s for cost in costs if cost.method == "formula"}
    reads = []
    for cost in costs:
        row = asdict(cost)
        row |= row.pop("case") | {"times_faster_than_formula": formula_s[cost.case] / cost.time_s}
        reads.append(row)
    shapes = {"queries": TOKENS, "tokens_per_frame": TOKENS, "key_channels": CHANNELS, "value_width": WIDTH}
    return {"shapes": shapes, "reads": reads}


def _methods(case: Case, compiled: bool) -> dict[str, Method]:
    methods: dict[str, Method] = {"flarekit": _ours, "formula": _formula}
    if compiled:
        methods["compiled"] = _compiled
    if case.top_k is None:
        methods["attention"] = _attention
    return methods


def _ours(memory_key: Tensor, query_key: Tensor, value: Tensor, top_k: int | None) -> Callable[[], Tensor]:
    return lambda: read_memory(memory_key, query_key, value, top_k=top_k)


def _formula(memory_key: Tensor, query_key: Tensor, value: Tensor, top_k: int | None) -> Callable[[], Tensor]:
    """The formula as published, on its own layout, channels first."""
    given = _channels_first(memory_key, query_key, value)
    return lambda: published_read(*given, top_k).transpose(-1, -2)


def _compiled(memory_key: Tensor, query_key: Tensor, value: Tensor, top_k: int | None) -> Callable[[], Tensor]:
    given = _channels_first(memory_key, query_key, value)
    torch.compiler.reset()  # after a few shapes of one function, torch would go on without compiling
    read = torch.compile(published_read, dynamic=False)
    return lambda: read(*given, top_k).transpose(-1, -2)


def _channels_first(memory_key: Tensor, query_key: Tensor, value: Tensor) -> Tensors:
    return memory_key.mT.contiguous(), query_key.mT.contiguous(), value.mT.contiguous()


def _attention(memory_key: Tensor, query_key: Tensor, value: Tensor, top_k: int | None) -> Callable[[], Tensor]:
    """Attention from [2q, 1] to [k, -|k|^2], the values of all objects side by side."""
    square = memory_key.float().square().sum(dim=2, keepdim=True).to(memory_key.dtype)
    key = torch.cat((memory_key, -square), dim=2)[:, None]
    query = torch.cat((2 * query_key, torch.ones_like(query_key[..., :1])), dim=2)[:, None]
    key, query = (F.pad(tensor, (0, -tensor.shape[-1] % 8)) for tensor in (key, query))  # as GPU kernels want it
    stacked = value.transpose(1, 2).flatten(2)[:, None]
    scale = 1 / math.sqrt(memory_key.shape[2])

    def read() -> Tensor:
        side_by_side = F.scaled_dot_product_attention(query, key, stacked, scale=scale)[:, 0]
        return side_by_side.unflatten(2, (-1, WIDTH)).transpose(1, 2)

    return read


def published_read(memory_key: Tensor, query_key: Tensor, value: Tensor, top_k: int | None) -> Tensor:
    """(1, K, V, Q) from keys (1, C, N), query keys (1, C, Q) and values (1, K, V, N): STCN's way, section 3.2.

    The affinity is held whole; with top-k it is emptied, the nearest are put back, and the product stays dense.
    """
    square = memory_key.pow(2).sum(dim=1)[:, :, None]
    affinity = (2 * (memory_key.transpose(1, 2) @ query_key) - square) / math.sqrt(memory_key.shape[1])
    if top_k is None:
        weights = torch.exp(affinity - affinity.amax(dim=1, keepdim=True))
        weights = weights / weights.sum(dim=1, keepdim=True)
    else:
        nearest, token = affinity.topk(top_k, dim=1)
        weights = torch.zeros_like(affinity).scatter_(1, token, nearest.softmax(dim=1))
    return value @ weights[:, None]


def _exact(memory_key: Tensor, query_key: Tensor, value: Tensor, top_k: int | None) -> Tensor:
    """(q, V) float64 readouts of the first object's first queries, a few at a time."""
    key, own = memory_key.double(), value[:, :1].double()
    blocks = query_key[:, :CHECKED_QUERIES].double().split(4, dim=1)
    return torch.cat([read_memory_reference(key, block, own, top_k=top_k)[0, 0] for block in blocks])
