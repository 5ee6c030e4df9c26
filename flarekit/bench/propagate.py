"""What propagation costs a slice, stage by stage, confined to where objects are and dense.

The time of confined work depends on where objects are found, and random weights find them anywhere. So true masks
are injected: the network does all its work, then the keys, a channel of the values and the logits are replaced by what
makes every object be found where it truly is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flarekit.bench.timing import wait_for
from flarekit.config.architecture import ARCHITECTURES
from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN, DecoderSkips, KeyFeatures
from flarekit.models.layout import laid_out_for
from flarekit.models.side_by_side import lanes_on
from flarekit.phantom.anatomy import synthetic_anatomy
from flarekit.propagation import propagate

SPACING_MM = (2.5, 0.8, 0.8)  # of the volume: its organs fill 129 slices of 512 x 512 as a patient's do
DENSE_ANNOTATED = 2  # annotated slices of the dense run, which takes ten times as long
STAGES = ("key", "values", "readout", "skips", "decode", "rest")


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What is propagated through."""

    classes: np.ndarray  # (Z, H, W) uint8: 0 background, object k is k + 1
    objects: int  # carried
    annotated: tuple[int, ...]  # slice numbers

    @classmethod
    def drawn(cls, shape: tuple[int, int, int], *, every: int, objects: int) -> Patient:
        """A made-up one with the first of FLARE22's organs, every n-th slice annotated."""
        classes = synthetic_anatomy(0, SPACING_MM, shape)
        classes[classes > objects] = 0
        return cls(classes=classes, objects=objects, annotated=tuple(range(every // 2, len(classes), every)))


@dataclass(frozen=True, kw_only=True)
class PropagationCost:
    """Seconds a slice of the whole volume: those of an annotated slice count as often as there are such.

    Where several slices are worked on at once, a stage has its share of the time that passes.
    """

    stages_s: dict[str, float]  # by STAGES
    filled: int  # slices that were propagated to
    annotated: int  # slices in memory
    peak_bytes: int | None  # of GPU memory, weights and all, as torch's allocator held it; None on a CPU

    @property
    def total_s(self) -> float:
        return sum(self.stages_s.values())

    def volume_s(self, slices: int) -> float:
        """Seconds of a volume of so many slices, a share of them annotated as here."""
        return slices * self.total_s


def bench_propagation(
    patient: Patient, arch: str, config: PropagationConfig, *, device: torch.device, size: tuple[int, int] | None = None
) -> PropagationCost:
    """Time propagation with random weights of size `arch` from every annotated slice to those that `config` allows.

    `size` is that of the network's input, the slice's own by default.
    """
    torch.manual_seed(0)
    slices = Pictures(patient, size or patient.classes.shape[1:])
    network = Planted(STCN(ARCHITECTURES[arch].stcn), patient.objects).to(device)
    laid_out_for(network, device)
    masks = {z: slices.masks(z) for z in patient.annotated}
    if device.type == "cuda":
        _warm_up(network, slices, masks, config)
        torch.cuda.reset_peak_memory_stats(device)
    begin, filled = time.perf_counter(), 0
    for result in propagate(network, slices, masks, config):  # type: ignore[arg-type]
        filled += result.z not in masks
    wait_for(device)
    elapsed_s, lanes = time.perf_counter() - begin, lanes_on(device)
    spent_s = {stage: seconds / lanes for stage, seconds in network.spent_s.items()}
    cost = _a_slice(spent_s, elapsed_s, patient, filled)
    return cost if device.type != "cuda" else replace(cost, peak_bytes=torch.cuda.max_memory_reserved(device))


def _warm_up(network: Planted, slices: Pictures, masks: dict[int, Tensor], config: PropagationConfig) -> None:
    """A few slices that do not count: kernels are compiled and chosen on the first."""
    first = min(masks)
    for _ in propagate(network, slices, {first: masks[first]}, config):  # type: ignore[arg-type]
        pass
    network.clock = _Clock()


def bench_dense(
    patient: Patient, arch: str, config: PropagationConfig, *, device: torch.device, size: tuple[int, int] | None = None
) -> PropagationCost:
    """The same without confining anything, from a few annotated slices in the middle of the volume."""
    middle = len(patient.annotated) // 2
    few = replace(patient, annotated=patient.annotated[middle : middle + DENSE_ANNOTATED])
    cost = bench_propagation(few, arch, replace(config, dense=True), device=device, size=size)
    share = len(patient.annotated) / len(patient.classes)
    measured = len(few.annotated) / len(patient.classes)
    values_s = cost.stages_s["values"] * share / measured
    return replace(cost, stages_s=cost.stages_s | {"values": values_s})


def _a_slice(spent_s: dict[str, float], elapsed_s: float, patient: Patient, filled: int) -> PropagationCost:
    """Seconds a slice of the whole volume from those spent on the slices that were timed."""
    depth, annotated = len(patient.classes), len(patient.annotated)
    spent_s = spent_s | {"rest": elapsed_s - sum(spent_s.values())}
    looked = filled + annotated
    often = {"key": 1 / looked, "rest": 1 / looked, "values": 1 / depth}
    between = (depth - annotated) / depth / max(filled, 1)
    stages_s = {stage: spent_s.get(stage, 0.0) * often.get(stage, between) for stage in STAGES}
    return PropagationCost(stages_s=stages_s, filled=filled, annotated=annotated, peak_bytes=None)


class Pictures:
    """Slices that show who is where: the first channel is the class, as a share of 255."""

    spacing_z_mm = SPACING_MM[0]

    def __init__(self, patient: Patient, size: tuple[int, int]) -> None:
        self._patient, self._size = patient, size

    def __len__(self) -> int:
        return len(self._patient.classes)

    def images(self, slices: Sequence[int]) -> Tensor:
        classes = torch.from_numpy(self._patient.classes[list(slices)])[:, None]
        return F.interpolate(classes, self._size, mode="nearest-exact").float().div(255).repeat(1, 3, 1, 1)

    def masks(self, z: int) -> Tensor:
        """(K, h, w) float32."""
        return one_hot(self.images([z]), self._patient.objects)[0, 1:]


def one_hot(image: Tensor, objects: int) -> Tensor:
    """Masks (B, K+1, h, w), background first, from images of `Pictures`."""
    classes = torch.arange(objects + 1, device=image.device)[:, None, None]
    return (image[:, :1].mul(255).round() == classes).to(image)


class _Clock:
    """Where the time goes: a stage ends where the next begins, once the device has done it. One for all threads."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}  # by stage, of all threads together
        self._adding = threading.Lock()
        self._thread = threading.local()  # its since_s: when the stage began that the thread is in

    def start(self, device: torch.device) -> None:
        wait_for(device)
        self._thread.since_s = time.perf_counter()

    def stop(self, stage: str, device: torch.device) -> None:
        wait_for(device)
        took_s = time.perf_counter() - self._thread.since_s
        with self._adding:
            self.spent_s[stage] = self.spent_s.get(stage, 0.0) + took_s


class Planted(nn.Module):
    """An STCN that does all its work and then answers the truth, token by token; it is timed on the way."""

    def __init__(self, network: STCN, objects: int) -> None:
        super().__init__()
        self.network, self.objects, self.clock = network, objects, _Clock()

    @property
    def values_are_local(self) -> bool:
        """As the network's."""
        return self.network.values_are_local

    @property
    def spent_s(self) -> dict[str, float]:
        """Seconds by stage, of all threads; what lies between a slice's key and its skips is reading and locating."""
        return self.clock.spent_s

    def encode_key(self, image: Tensor) -> KeyFeatures:
        self.clock.start(image.device)
        features = self.network.encode_key(image)
        self.clock.stop("key", image.device)
        key = torch.zeros_like(features.key)
        key[:, : self.objects + 1] = 10 * F.avg_pool2d(one_hot(image, self.objects), 16)
        self.clock.start(image.device)
        return features._replace(key=key)

    def encode_value(self, image: Tensor, f16: Tensor, mask: Tensor, others: Tensor) -> Tensor:
        self.clock.start(image.device)
        value = self.network.encode_value(image, f16, mask, others)
        self.clock.stop("values", image.device)
        value[:, :1] = F.avg_pool2d(mask, 16)
        return value

    def decode_skips(self, features: KeyFeatures) -> DecoderSkips:
        self.clock.stop("readout", features.key.device)
        self.clock.start(features.key.device)
        skips = self.network.decode_skips(features)
        self.clock.stop("skips", features.key.device)
        return skips

    def decode(self, readout: Tensor, features: DecoderSkips) -> Tensor:
        self.clock.start(readout.device)
        logits = self.network.decode(readout, features)
        self.clock.stop("decode", readout.device)
        planted = F.interpolate(readout[:, :1] - 0.5, logits.shape[-2:], mode="bilinear", align_corners=False)
        return planted * 20
