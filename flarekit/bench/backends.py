"""What a slice costs in each of the reference module's networks: eager torch, torch in channels_last, ONNX Runtime."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from flarekit.bench.timing import timed
from flarekit.checkpoints.onnx_cache import OnnxCache
from flarekit.config.architecture import ARCHITECTURES
from flarekit.models import DeepLabV3Plus, TransUNet, build
from flarekit.reference.onnx import OnnxNetwork

NETWORKS = ("transunet", "deeplabv3plus")


@dataclass(frozen=True, kw_only=True)
class BackendCost:
    """Seconds a slice in one network, the middle of all runs."""

    network: str
    torch_s: float  # as `segment` runs it by default
    channels_last_s: float  # torch, with weights and slices in that memory format
    onnx_s: float
    export_s: float  # once for every checkpoint and size
    error: float  # of onnx: its largest difference from torch's logits, as a share of their largest

    @property
    def ratio(self) -> float:
        """How many times faster onnx is than eager torch."""
        return self.torch_s / self.onnx_s


def bench_backends(arch: str, size: tuple[int, int], *, batch: int, runs: int) -> Iterator[BackendCost]:
    """Each network of the sizes `arch`, with random weights, on batches of slices of (H, W) pixels on the CPU.

    The backends take turns, so that whatever else the machine does strikes them alike. Raises MissingDependency.
    """
    torch.manual_seed(0)
    inputs = torch.rand(batch, 3, *size), torch.rand(batch)
    for name in NETWORKS:
        network = build(getattr(ARCHITECTURES[arch], name)).eval()
        with TemporaryDirectory() as folder, torch.inference_mode():
            yield _cost(name, network, inputs, OnnxCache(Path(folder)), runs)


def _cost(
    name: str, network: TransUNet | DeepLabV3Plus, inputs: tuple[Tensor, Tensor], cache: OnnxCache, runs: int
) -> BackendCost:
    image, position = inputs
    exported = OnnxNetwork(network, cache)
    begin = time.perf_counter()
    exported.prepare((image.shape[2], image.shape[3]))
    export_s = time.perf_counter() - begin
    expected = network(*inputs)
    error = float((exported(*inputs) - expected).abs().max() / expected.abs().max())
    last = build(network.config).eval().to(memory_format=torch.channels_last)
    work: dict[str, Callable[[], object]] = {
        "torch_s": partial(network, *inputs),
        "channels_last_s": partial(last, image.contiguous(memory_format=torch.channels_last), position),
        "onnx_s": partial(exported, *inputs),
    }
    seconds = {backend: each / len(image) for backend, each in _in_turns(work, runs).items()}
    return BackendCost(network=name, export_s=export_s, error=error, **seconds)


def _in_turns(work: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The middle time of each, after a run of each that does not count."""
    rounds = [{name: timed(each, runs=1, warmup=0).median_s for name, each in work.items()} for _ in range(runs + 1)]
    return {name: statistics.median(times[name] for times in rounds[1:]) for name in work}
