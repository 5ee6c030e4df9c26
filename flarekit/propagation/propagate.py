"""Annotated slices in, probabilities of every other slice out (paper, section 2.2, figure 4).

All annotated slices are in memory at once and near ones count for more, so both directions are one pass.
With `memory_every`, propagated slices are remembered too: each gap between annotated slices is then walked
upwards and downwards and the two answers are fused. Slices are read one at a time; what is kept of them is
the memory and, while a gap is walked twice, its probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN, aggregate
from flarekit.propagation.fusion import confidence, fuse
from flarekit.propagation.memory import MemoryBank
from flarekit.propagation.ranges import Gap, gaps
from flarekit.propagation.step import View, decode, look, query, remember


class Slices(Protocol):
    """The axial slices of a volume, as flarekit.data.slices.VolumeSlices gives them."""

    @property
    def spacing_z_mm(self) -> float: ...
    def __len__(self) -> int: ...
    def images(self, slices: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """The answer for one slice, on the network's grid and device."""

    z: int  # slice number
    probabilities: Tensor  # (K+1, h, w) float32, background first, summing to 1
    confidence: Tensor  # (K,) float32 in 0..1; 1 for an object annotated on this slice


def propagate(
    network: STCN,
    slices: Slices,
    annotated: Mapping[int, Tensor],
    config: PropagationConfig,
    *,
    frame_mask: Mapping[int, Tensor] | None = None,
) -> Iterator[SliceResult]:
    """Results of all slices in range, each once: annotated ones first, then the gaps from the lowest up.

    `annotated` maps slice numbers to masks (K, h, w) float32 in 0..1 on the network's grid, objects not
    overlapping; an empty mask says that the object is not there. `frame_mask` maps slice numbers to (K,) bool,
    the objects annotated on that slice (all of them where it says nothing); others are propagated there as on
    any slice. Annotated masks come out as they went in; an object annotated nowhere is found nowhere. The
    network is put in evaluation mode and answers on its own device. Raises ValueError without an annotated
    slice, or when a slice number is not one of the volume's.
    """
    outside = sorted(z for z in annotated if not 0 <= z < len(slices))
    if not annotated or outside:
        raise ValueError(f"annotated slices lie in 0..{len(slices) - 1}, got {outside or 'none'}")
    device = next(network.parameters()).device
    masks = {z: annotated[z].to(device) for z in sorted(annotated)}
    known = {z: _known(masks[z], frame_mask.get(z) if frame_mask else None) for z in masks}
    walk = _Walk(network.eval(), slices, config, _fill_memory(network, slices, masks, known, config))
    for z in masks:
        yield walk.annotated(z, masks[z], known[z])
    for gap in gaps(masks, len(slices), config):
        yield from walk.both_ways(gap) if config.memory_every else walk.single_pass(gap)


def _known(masks: Tensor, known: Tensor | None) -> Tensor:
    if known is None:
        return torch.ones(len(masks), dtype=torch.bool, device=masks.device)
    return known.to(masks.device)


@torch.inference_mode()
def _fill_memory(
    network: STCN,
    slices: Slices,
    masks: Mapping[int, Tensor],
    known: Mapping[int, Tensor],
    config: PropagationConfig,
) -> MemoryBank:
    memory: MemoryBank | None = None
    for z in masks:
        frame = remember(network, _view(network, slices, z), masks[z], known[z])
        if memory is None:
            passing = config.memory_frames if config.memory_every else 0
            memory = MemoryBank(frame, permanent=len(masks), passing=passing)
        memory.keep(frame)
    assert memory is not None
    return memory


def _view(network: STCN, slices: Slices, z: int) -> View:
    return look(network, slices.images([z]).to(next(network.parameters()).device), z)


@dataclass(frozen=True)
class _Walk:
    """A network on its way through the slices of a volume, and what it remembers of them."""

    network: STCN
    slices: Slices
    config: PropagationConfig
    memory: MemoryBank

    @torch.inference_mode()
    def annotated(self, z: int, masks: Tensor, known: Tensor) -> SliceResult:
        """An annotated slice: its masks as given; objects not annotated on it in the room that they leave."""
        room = 1 - masks[known].sum(dim=0, keepdim=True)
        probabilities, sure = torch.cat((room, masks)), torch.ones(len(masks), device=masks.device)
        if not known.all():
            found = aggregate(self._own(_view(self.network, self.slices, z))[~known]) * room
            probabilities[:1], probabilities[1:][~known] = found[:1], found[1:]
            sure[~known] = confidence(probabilities)[~known]
        return SliceResult(z=z, probabilities=probabilities, confidence=sure)

    def single_pass(self, gap: Gap) -> Iterator[SliceResult]:
        """The slices of a gap, each read from the annotated slices alone."""
        for z in gap.slices:
            yield _result(z, self._find(z))

    def both_ways(self, gap: Gap) -> Iterator[SliceResult]:
        """The slices of a gap, walked upwards and downwards with a growing memory, and fused where both came."""
        upwards = dict(self._stroll(gap.forward))
        for z, above in self._stroll(gap.backward):
            below = upwards.pop(z, None)
            if below is None:
                yield _result(z, above)
                continue
            distances = (z - gap.forward.start + 1, gap.backward.start + 1 - z)
            below_mm, above_mm = (slices * self.slices.spacing_z_mm for slices in distances)
            yield _result(z, fuse(below, above, (below_mm, above_mm), self.config.fusion_mm))
        for z, below in upwards.items():
            yield _result(z, below)

    def _stroll(self, slices: range) -> Iterator[tuple[int, Tensor]]:
        """Probabilities slice by slice, every n-th slice being remembered on the way."""
        self.memory.forget_passing()
        for step, z in enumerate(slices, start=1):
            yield z, self._find(z, remembered=step % self.config.memory_every == 0)

    @torch.inference_mode()
    def _find(self, z: int, *, remembered: bool = False) -> Tensor:
        """Probabilities (K+1, h, w) of slice z."""
        view = _view(self.network, self.slices, z)
        probabilities = aggregate(self._own(view))
        if remembered:
            found = probabilities[1:]
            everything = torch.ones(len(found), dtype=torch.bool, device=found.device)
            self.memory.pass_by(remember(self.network, view, found, everything))
        return probabilities

    def _own(self, view: View) -> Tensor:
        """Each object's own probability (K, h, w)."""
        readout = self.memory.read(
            query(view),
            view.z,
            top_k=self.config.top_k,
            bias_per_slice=self.config.distance_bias_per_mm * self.slices.spacing_z_mm,
        )
        own = decode(self.network, view, readout, self.config.objects_at_once)
        return own * self.memory.annotated_objects[:, None, None]


def _result(z: int, probabilities: Tensor) -> SliceResult:
    return SliceResult(z=z, probabilities=probabilities, confidence=confidence(probabilities))
