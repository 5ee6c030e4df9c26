"""Where on a slice an object can be: boxes of tokens, the network's pixels at stride 16.

Decoding an object on a whole slice costs the same wherever it is, and most of a slice is not it. What an object
reads of the memory is made for the whole slice; only what follows is confined.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

TOKEN_PX = 16  # side of a token in pixels of the network's input


class Box(NamedTuple):
    """Rows and columns of tokens; `bottom` and `right` are the first ones outside."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, planes: Tensor, scale: int = 1) -> Tensor:
        """The part (..., scale h, scale w) of planes with `scale` pixels a token; a view."""
        return planes[..., self.top * scale : self.bottom * scale, self.left * scale : self.right * scale]

    def within(self, outer: Box) -> Box:
        """The same box counted from the corner of another that holds it."""
        return Box(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)


def boxes_around(hot: Tensor, margin: int) -> list[Box | None]:
    """For each object the box around its hot tokens (K, h, w) bool, `margin` tokens wider; None without any.

    Sides are even where the frame allows it, so that more of them are alike and can be decoded together.
    """
    rows, columns = hot.any(dim=2).cpu(), hot.any(dim=1).cpu()
    return [
        Box(*_span(rows[k], margin), *_span(columns[k], margin)) if rows[k].any() else None for k in range(len(hot))
    ]


def _span(hot: Tensor, margin: int) -> tuple[int, int]:
    indices = hot.nonzero()
    first, stop = max(0, int(indices[0]) - margin), min(len(hot), int(indices[-1]) + 1 + margin)
    if (stop - first) % 2:
        first, stop = (first, stop + 1) if stop < len(hot) else (max(0, first - 1), stop)
    return first, stop


def touched_tokens(masks: Tensor, above: float) -> Tensor:
    """(K, h, w) bool: tokens with at least one pixel in which masks (K, H, W) are above a threshold."""
    return F.max_pool2d(masks[:, None].float(), TOKEN_PX)[:, 0] > above


def frame_of(tokens: Tensor) -> Box:
    """The box of a whole slice, from planes (..., h, w) of tokens."""
    return Box(0, tokens.shape[-2], 0, tokens.shape[-1])


def union(boxes: Collection[Box]) -> Box:
    """The smallest box around all of them."""
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return Box(min(tops), max(bottoms), min(lefts), max(rights))


def batches(boxes: Mapping[int, Box], size: int) -> list[list[int]]:
    """Objects whose boxes have equal sides, at most `size` of them together."""
    alike: dict[tuple[int, int], list[int]] = {}
    for index, box in boxes.items():
        alike.setdefault(box.size, []).append(index)
    return [group[i : i + size] for group in alike.values() for i in range(0, len(group), size)]
