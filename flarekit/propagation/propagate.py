"""Annotated slices in, probabilities of every other slice out (paper, section 2.2, figure 4).

All annotated slices are in memory at once and near ones count for more, so both directions are one pass.
With `memory_every`, propagated slices are remembered too: each gap between annotated slices is then walked
upwards and downwards and the two answers are fused where they meet. Slices are read one at a time, or side by
side where nothing is remembered on the way. What is kept of them is bounded whatever the volume's length: the memory,
the last few views, and the answers that wait for the other direction.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flarekit.config.propagation import PropagationConfig
from flarekit.models import STCN
from flarekit.models.side_by_side import side_by_side
from flarekit.propagation.boxes import TOKEN_PX, Box, boxes_around, union
from flarekit.propagation.found import Found, assemble, at_the_borders, nothing_found
from flarekit.propagation.fusion import confidence, fuse
from flarekit.propagation.memory import Frame, MemoryBank, Readout, ring_places
from flarekit.propagation.precision import require_numbers
from flarekit.propagation.ranges import Gap, gaps
from flarekit.propagation.step import View, decode, decode_nobody, remember
from flarekit.propagation.views import Slices, Views

HESITANT = 0.001  # probability of an object where it is not, from which all such places are looked at
FADED = 4.0  # lengths `fusion_mm` after which the farther of two directions counts for nothing: exp(-4) is 2 %


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """The answer for one slice, on the network's grid and device."""

    z: int  # slice number
    frame: Box  # the whole slice
    found: Found  # the objects that are here
    known: Tensor  # (K,) bool: the objects annotated on this slice

    @property
    def probabilities(self) -> Tensor:
        """(K+1, h, w) float32, background first, summing to 1."""
        return self.found.on(range(len(self.known)), self.frame).planes

    @property
    def confidence(self) -> Tensor:
        """(K,) float32 in 0..1; 1 for an object annotated on this slice."""
        sure = torch.ones(len(self.known), device=self.found.planes.device)
        if self.found.objects:
            sure[list(self.found.objects)] = confidence(self.found.planes)
        return sure.masked_fill(self.known, 1.0)


def propagate(
    network: STCN,
    slices: Slices,
    annotated: Mapping[int, Tensor],
    config: PropagationConfig,
    *,
    frame_mask: Mapping[int, Tensor] | None = None,
    only: Collection[int] | None = None,
    views: Views | None = None,
) -> Iterator[SliceResult]:
    """Results of all slices in range, each once: annotated ones first, then the gaps from the lowest up.

    `annotated` maps slice numbers to masks (K, h, w) float32 in 0..1 on the network's grid, objects not
    overlapping; an empty mask says that the object is not there. `frame_mask` maps slice numbers to (K,) bool,
    the objects annotated on that slice (all of them where it says nothing); others are propagated there as on
    any slice. Annotated masks come out as they went in; an object annotated nowhere is found nowhere. With
    `only`, no other slices without annotation are answered for. `views` of these slices are used again, so that
    a second call looks at none twice. The network is put in evaluation mode and answers on its own device. Raises
    ValueError without an annotated slice, when a slice number is not one of the volume's, or where `only` would
    leave out slices that are to be remembered; UsageError or CheckpointError as `require_numbers` does.
    """
    outside = sorted(z for z in annotated if not 0 <= z < len(slices))
    if not annotated or outside:
        raise ValueError(f"annotated slices lie in 0..{len(slices) - 1}, got {outside or 'none'}")
    if only is not None and config.memory_every:
        raise ValueError("every slice is answered for where propagated slices are remembered")
    given = Given(annotated, frame_mask or {}, next(network.parameters()).device)
    views = views or Views(network.eval(), slices, config.views_mb, config.precision)
    walk = _Walk(views, slices.spacing_z_mm, config, _fill_memory(views, given, config))
    for z in given.slices:
        yield walk.found(z) if config.refine else walk.annotated(z, *given.on(z))
    between = gaps(given.slices, len(slices), config)
    if config.memory_every:
        yield from (result for gap in between for result in walk.both_ways(gap))
    else:
        wanted = [z for gap in between for z in gap.slices if only is None or z in only]
        yield from side_by_side(walk.found, wanted, views.device)


@dataclass(frozen=True)
class Given:
    """The annotated slices; their masks are brought to the device one slice at a time."""

    annotated: Mapping[int, Tensor]  # as for `propagate`
    frame_mask: Mapping[int, Tensor]  # as for `propagate`
    device: torch.device

    @property
    def slices(self) -> list[int]:
        """From the lowest up."""
        return sorted(self.annotated)

    def on(self, z: int) -> tuple[Tensor, Tensor]:
        """Masks (K, h, w) of slice z, and (K,) bool, whose is known."""
        masks = self.annotated[z].to(self.device)
        known = self.frame_mask.get(z, torch.ones(len(masks), dtype=torch.bool))
        return masks, known.to(self.device)


@torch.inference_mode()
def _fill_memory(views: Views, given: Given, config: PropagationConfig) -> MemoryBank:
    memory, margin = None, _margin(config, config.memory_margin_px)

    @torch.inference_mode()
    def remembered(z: int) -> Frame:
        masks, known = given.on(z)
        frame = remember(views.at(z), masks, known, margin=margin, at_once=config.objects_at_once)
        require_numbers(config.precision, frame.key)
        return frame

    for frame in side_by_side(remembered, given.slices, views.device):
        if memory is None:
            wanted, permanent = config.memory_frames if config.memory_every else 0, len(given.slices)
            passing = ring_places(frame, permanent=permanent, wanted=wanted, budget_mb=config.memory_budget_mb)
            memory = MemoryBank(frame, permanent=permanent, passing=passing)
        memory.keep(frame)
    assert memory is not None
    return memory


def _margin(config: PropagationConfig, margin_px: int) -> int | None:
    """Tokens around an object; None where it is dense."""
    return None if config.dense else -(-margin_px // TOKEN_PX)


@dataclass(frozen=True)
class _Walk:
    """A network on its way through the slices of a volume, and what it remembers of them."""

    views: Views
    spacing_z_mm: float
    config: PropagationConfig
    memory: MemoryBank

    @torch.inference_mode()
    def annotated(self, z: int, masks: Tensor, known: Tensor) -> SliceResult:
        """An annotated slice: its masks as given; objects not annotated on it in the room that they leave."""
        rows, columns = (pixels // TOKEN_PX for pixels in masks.shape[-2:])
        frame = Box(0, rows, 0, columns)
        room = 1 - masks[known].sum(dim=0, keepdim=True)
        planes = torch.cat((room, masks))
        if not known.all():
            others = self._find(self.views.at(z), ~known)
            whole = others.on(range(len(masks)), frame).planes
            planes[:1], planes[1:][~known] = whole[:1] * room, whole[1:][~known] * room
        return SliceResult(z=z, frame=frame, found=Found(tuple(range(len(masks))), frame, planes), known=known)

    def both_ways(self, gap: Gap) -> Iterator[SliceResult]:
        """The slices of a gap, walked upwards and downwards with a growing memory, and fused where both came."""
        meeting = gap.meeting(math.ceil(FADED * self.config.fusion_mm / self.spacing_z_mm))
        upwards: dict[int, SliceResult] = {}
        for below in self._stroll(meeting.forward):
            if below.z in meeting.backward:
                upwards[below.z] = replace(below, found=below.found.halved())
            else:
                yield below
        for above in self._stroll(meeting.backward):
            yield self._fused(upwards.pop(above.z), above, gap) if above.z in upwards else above

    def _fused(self, below: SliceResult, above: SliceResult, gap: Gap) -> SliceResult:
        objects, box = below.found.joined(above.found)
        distances = (below.z - gap.forward.start + 1, gap.backward.start + 1 - below.z)
        below_mm, above_mm = (slices * self.spacing_z_mm for slices in distances)
        ends = below.found.on(objects, box).planes, above.found.on(objects, box).planes
        fused = fuse(ends[0], ends[1], (below_mm, above_mm), self.config.fusion_mm)
        return self._result(below.z, below.frame, Found(objects, box, fused))

    def _stroll(self, slices: range) -> Iterator[SliceResult]:
        """Slice by slice, every n-th slice being remembered on the way."""
        self.memory.forget_passing()
        for step, z in enumerate(slices, start=1):
            result = self.found(z)
            if step % self.config.memory_every == 0:
                self._pass_by(result)
            yield result

    @torch.inference_mode()
    def _pass_by(self, result: SliceResult) -> None:
        found = result.probabilities[1:]
        everything = torch.ones(len(found), dtype=torch.bool, device=found.device)
        view, margin = self.views.at(result.z), _margin(self.config, self.config.memory_margin_px)
        self.memory.pass_by(remember(view, found, everything, margin=margin, at_once=self.config.objects_at_once))

    @torch.inference_mode()
    def found(self, z: int) -> SliceResult:
        """What the memory finds on slice z."""
        view = self.views.at(z)
        return self._result(z, view.frame, self._find(view, self.memory.annotated_objects))

    def _find(self, view: View, wanted: Tensor) -> Found:
        """The wanted objects (K,) bool, each looked for where its own memory tokens are read."""
        readout = self.memory.read(
            view.query,
            view.z,
            top_k=self.config.top_k,
            bias_per_slice=self.config.distance_bias_per_mm * self.spacing_z_mm,
        )
        wanted = wanted & self.memory.annotated_objects
        require_numbers(self.config.precision, view.query, readout.share)
        found = self._decoded(view, readout, wanted)
        require_numbers(self.config.precision, found.planes[0])  # of what sums to 1, one tells of all
        return found

    def _decoded(self, view: View, readout: Readout, wanted: Tensor) -> Found:
        """The wanted objects (K,) bool, from what is read of each."""
        boxes = self._boxes(readout.share.unflatten(1, view.frame.size), wanted, view)
        patches = decode(view, readout.value, boxes, self.config.objects_at_once)
        if not patches:
            return nothing_found(view.frame, readout.value.device)
        box, absent = union([patch.box for patch in patches.values()]), int(wanted.sum()) - len(patches)
        elsewhere = at_the_borders(patches)
        if elsewhere > HESITANT and (absent or any(patch.box != box for patch in patches.values())):
            elsewhere = decode_nobody(view, readout.value, readout.share, boxes, box)
        return assemble(patches, box, elsewhere, absent)

    def _boxes(self, share: Tensor, wanted: Tensor, view: View) -> dict[int, Box]:
        """Where to look for each of the wanted objects that are here, from their shares (K, h, w) of the attention."""
        margin = _margin(self.config, self.config.margin_px)
        if margin is None:
            return dict.fromkeys(wanted.nonzero().flatten().tolist(), view.frame)
        hot = (share > self.config.here_above) & wanted[:, None, None]
        return {k: box for k, box in enumerate(boxes_around(hot, margin)) if box is not None}

    def _result(self, z: int, frame: Box, found: Found) -> SliceResult:
        return SliceResult(z=z, frame=frame, found=found, known=torch.zeros_like(self.memory.annotated_objects))
