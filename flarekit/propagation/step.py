"""What the network does with one slice: look at it, remember it with masks, or find remembered objects on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from flarekit.models import STCN, DecoderSkips, KeyFeatures
from flarekit.propagation.boxes import TOKEN_PX, Box, batches, boxes_around, frame_of, touched_tokens
from flarekit.propagation.found import Patch, grown
from flarekit.propagation.memory import Frame
from flarekit.propagation.precision import Lowered

PRESENT = 0.25  # probability from which a pixel makes its token one that shows the object
FAINT = 0.01  # probability from which a pixel is encoded with the object
RIM = 1  # tokens along a crop's border whose values are not used: the encoder saw the crop end there


@dataclass(frozen=True)
class View:
    """A slice as the network sees it."""

    network: STCN | Lowered
    z: int  # slice number
    image: Tensor  # (1, 3, h, w) in 0..1
    features: KeyFeatures  # of that image

    @cached_property
    def skips(self) -> DecoderSkips:
        """The decoder's terms that all objects share."""
        return self.network.decode_skips(self.features)

    @property
    def size_mb(self) -> float:
        """About what it takes in memory: the skips are as large as the features."""
        return (self.image.nbytes + 2 * sum(part.nbytes for part in self.features)) / 1e6

    @property
    def frame(self) -> Box:
        """The whole slice."""
        return frame_of(self.features.key)

    @property
    def query(self) -> Tensor:
        """The key as query tokens (Q, C)."""
        return _tokens(self.features.key)[0]


def look(network: STCN | Lowered, image: Tensor, z: int) -> View:
    """The view of slice z from its image (1, 3, h, w) on the network's device."""
    return View(network, z, image, network.encode_key(image))


def remember(view: View, masks: Tensor, usable: Tensor, *, margin: int | None, at_once: int) -> Frame:
    """A memory frame from masks (K, h, w) in 0..1; `usable` (K,) bool says whose mask is known.

    Values are those of a slice that shows nobody's mask but all the others', and around each object its own,
    `margin` tokens beyond its mask; without a margin, or where the network's values are not local, every object's
    value is encoded on the whole slice.
    """
    masks = masks.to(view.image) * usable.to(view.image)[:, None, None]
    shows = touched_tokens(masks, PRESENT).flatten(1)
    if margin is None or not view.network.values_are_local:
        planes = _values(view, masks, at_once)
    else:
        planes = _values_around(view, masks, margin, at_once)
    return Frame(z=view.z, key=view.query, value=_tokens(planes), shows=shows, usable=usable)


def decode(view: View, readout: Tensor, boxes: Mapping[int, Box], at_once: int) -> dict[int, Patch]:
    """Each object's own probability where its box is, larger where it reaches the border, from readouts (K, Q, V)."""
    planes = readout.transpose(1, 2).unflatten(2, view.frame.size)
    found: dict[int, Patch] = {}
    wanted = dict(boxes)
    while wanted:
        for group in batches(wanted, at_once):
            found |= _decode_alike(view, planes, {k: wanted[k] for k in group})
        larger = {k: grown(found[k], view.frame) for k in wanted}
        wanted = {k: box for k, box in larger.items() if box is not None}
    return found


def decode_nobody(view: View, readout: Tensor, share: Tensor, boxes: Mapping[int, Box], box: Box) -> Tensor:
    """(16 h, 16 w) the own probability in a box that an object gets which is not there.

    It is decoded once, from what is read of the object that the slice attends to least, and of the next one where
    that one's own box is; `readout` (K, Q, V) and `share` (K, Q) as of `Readout`.
    """
    here = torch.zeros(len(share), *view.frame.size, device=share.device)
    for k, own in boxes.items():
        own.cut(here[k]).fill_(share.shape[1])  # more than all shares together
    who = (here.flatten(1) + share.sum(dim=1, keepdim=True)).argmin(dim=0)
    least = readout[who, torch.arange(len(who), device=who.device)]
    return _decode_alike(view, least.T.unflatten(1, view.frame.size)[None], {0: box})[0].probability


def _decode_alike(view: View, planes: Tensor, boxes: Mapping[int, Box]) -> dict[int, Patch]:
    """Patches of objects whose boxes have equal sides."""
    readout = torch.stack([box.cut(planes[k]) for k, box in boxes.items()])
    logits = view.network.decode(readout, _cut_skips(view.skips, list(boxes.values()), view.frame))
    logits = logits[:, 0].float()
    own = logits.sigmoid().masked_fill(logits.isinf(), torch.nan)  # what overflowed is not sure of anything
    return {k: Patch(box, own[row]) for row, (k, box) in enumerate(boxes.items())}


def _cut_skips(skips: DecoderSkips, boxes: list[Box], frame: Box) -> DecoderSkips:
    """The skips of each box; those of the whole slice stay one for all."""
    if all(box == frame for box in boxes):
        return skips

    def cut(planes: Tensor, scale: int) -> Tensor:
        return torch.cat([box.cut(planes, scale) for box in boxes])

    first, second = skips.fusion
    return DecoderSkips((cut(first, 1), cut(second, 1)), cut(skips.skip8, 2), cut(skips.skip4, 4))


def _values(view: View, masks: Tensor, at_once: int) -> Tensor:
    """Values (K, V, h, w) of masks (K, H, W), each encoded on the whole slice."""
    values = _encode(view, masks, masks.sum(dim=0), dict.fromkeys(range(len(masks)), view.frame), at_once)
    return torch.stack([values[k] for k in range(len(masks))])


def _values_around(view: View, masks: Tensor, margin: int, at_once: int) -> Tensor:
    """Values (K, V, h, w) of masks (K, H, W), each encoded around its mask; elsewhere all objects are others."""
    everyone = masks.sum(dim=0)
    boxes = {k: box for k, box in enumerate(boxes_around(touched_tokens(masks, FAINT), margin)) if box is not None}
    nobody = _encode(view, torch.zeros_like(masks[:1]), everyone, {0: view.frame}, 1)[0]
    planes = nobody.repeat(len(masks), 1, 1, 1)
    for k, value in _encode(view, masks, everyone, boxes, at_once).items():
        inner = _inner(boxes[k], view.frame)
        inner.cut(planes[k]).copy_(inner.within(boxes[k]).cut(value))
    return planes


def _encode(view: View, masks: Tensor, everyone: Tensor, boxes: Mapping[int, Box], at_once: int) -> dict[int, Tensor]:
    """Values (V, h, w) of objects with masks (K, H, W) inside their boxes; the others are `everyone` else."""
    values: dict[int, Tensor] = {}
    for group in batches(boxes, at_once):
        cut = [(masks[k], boxes[k]) for k in group]
        own = torch.stack([box.cut(mask, TOKEN_PX) for mask, box in cut])[:, None]
        others = torch.stack([box.cut(everyone - mask, TOKEN_PX) for mask, box in cut])[:, None].clamp(0, 1)
        image = torch.cat([box.cut(view.image, TOKEN_PX) for _, box in cut])
        f16 = torch.cat([box.cut(view.features.f16) for _, box in cut])
        values |= dict(zip(group, view.network.encode_value(image, f16, own, others), strict=True))
    return values


def _inner(box: Box, frame: Box) -> Box:
    """The box without its rim, where that is not the slice's own border."""
    return Box(
        box.top + RIM * (box.top > frame.top),
        box.bottom - RIM * (box.bottom < frame.bottom),
        box.left + RIM * (box.left > frame.left),
        box.right - RIM * (box.right < frame.right),
    )


def _tokens(planes: Tensor) -> Tensor:
    """(B, h w, C), row-major, from (B, C, h, w)."""
    return planes.flatten(2).transpose(1, 2).contiguous()
