"""What was found on a slice: object by object in boxes, then all together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from flarekit.propagation.boxes import TOKEN_PX, Box, union

GROWTH = 4  # tokens that a box gains on a side that its object touches
TOUCHES = 0.5  # probability at a box's border from which its object is held to go on beyond it


class Patch(NamedTuple):
    """What was found of one object."""

    box: Box
    probability: Tensor  # (16 h, 16 w) of the object's own, float32


class Found(NamedTuple):
    """Probabilities of all objects on a slice; outside `box` everything is background for certain."""

    objects: tuple[int, ...]  # the objects with a plane, ascending; others are not here
    box: Box
    planes: Tensor  # (1 + len(objects), 16 h, 16 w) background first, summing to 1

    def on(self, objects: Collection[int], box: Box) -> Found:
        """The same with planes for more objects, in a larger box, float32."""
        ordered = tuple(sorted(objects))
        rows, columns = box.size
        planes = self.planes.new_zeros((1 + len(ordered), rows * TOKEN_PX, columns * TOKEN_PX), dtype=torch.float32)
        planes[0] = 1
        places = [0, *(1 + ordered.index(k) for k in self.objects)]
        self.box.within(box).cut(planes, TOKEN_PX)[places] = self.planes.float()
        return Found(ordered, box, planes)

    def halved(self) -> Found:
        """The same in float16, half as large."""
        return self._replace(planes=self.planes.half())

    def joined(self, other: Found) -> tuple[tuple[int, ...], Box]:
        """The objects that either holds, and the box around both."""
        return tuple(sorted({*self.objects, *other.objects})), union([self.box, other.box])


def grown(patch: Patch, frame: Box) -> Box | None:
    """A larger box where the object touches a border of its box; None where it keeps clear of all."""
    borders = patch.probability[0], patch.probability[-1], patch.probability[:, 0], patch.probability[:, -1]
    top, bottom, left, right = (GROWTH * int(border.amax() > TOUCHES) for border in borders)
    box = patch.box
    larger = Box(
        max(frame.top, box.top - top),
        min(frame.bottom, box.bottom + bottom),
        max(frame.left, box.left - left),
        min(frame.right, box.right + right),
    )
    return None if larger == box else larger


def nothing_found(frame: Box, device: torch.device) -> Found:
    """Background on the whole slice."""
    return Found((), frame, torch.ones((1, *(side * TOKEN_PX for side in frame.size)), device=device))


def assemble(patches: Mapping[int, Patch], box: Box, elsewhere: Tensor, absent: int) -> Found:
    """What was found of each object as one answer in a box around all patches, by soft aggregation.

    Outside its patch an object has the probability `elsewhere` (), or (16 h, 16 w) in the box: what the decoder
    gives to objects that are not there. So have the `absent` objects, which were not looked for.
    See `flarekit.models.aggregate`.
    """
    objects = tuple(sorted(patches))
    rows, columns = box.size
    own = elsewhere.expand(len(objects), rows * TOKEN_PX, columns * TOKEN_PX).clone()
    for row, index in enumerate(objects):
        patches[index].box.within(box).cut(own[row], TOKEN_PX).copy_(patches[index].probability)
    return Found(objects, box, _aggregated(own, (1 - elsewhere) ** absent))


def at_the_borders(patches: Mapping[int, Patch]) -> Tensor:
    """() a middle probability at the borders of patches, where their objects are not."""
    return torch.stack([_at_the_border(patch.probability) for patch in patches.values()]).median()


def _aggregated(own: Tensor, nobody: Tensor) -> Tensor:
    """Soft aggregation of own probabilities (K, H, W), with absent objects that are all elsewhere with `nobody`."""
    background = nobody * torch.prod(1 - own, dim=0, keepdim=True)
    return torch.cat((background, own)).clamp(1e-7, 1 - 1e-7).logit().softmax(dim=0)


def _at_the_border(probability: Tensor) -> Tensor:
    edges = probability[0], probability[-1], probability[:, 0], probability[:, -1]
    return torch.cat(edges).median()
