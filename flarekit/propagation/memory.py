"""The memory: annotated slices for good, propagated ones in a ring that forgets the oldest.

Its size is fixed before anything is remembered. When the ring is full, the next propagated slice takes the place
of the oldest one; annotated slices have places of their own that nothing else can take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flarekit.errors import UsageError
from flarekit.ops import read_memory


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is remembered of one slice, n tokens of it."""

    z: int  # slice number
    key: Tensor  # (n, C)
    value: Tensor  # (K, n, V)
    shows: Tensor  # (K, n) bool: tokens on which the object is
    usable: Tensor  # (K,) bool: objects whose mask on this slice is known

    @property
    def size_mb(self) -> float:
        """What it takes in a bank."""
        return sum(part.nbytes for part in (self.key, self.value, self.value[..., 0])) / 1e6


class Readout(NamedTuple):
    """What the tokens of a slice read, for each object."""

    value: Tensor  # (K, Q, V)
    share: Tensor  # (K, Q) in 0..1: how much of the attention lies on tokens that show the object


def ring_places(frame: Frame, *, permanent: int, wanted: int, budget_mb: int) -> int:
    """How many propagated slices a budget has room for beside the permanent frames, at most `wanted`.

    Raises UsageError when the permanent ones alone are too large for it.
    """
    needed_mb = permanent * frame.size_mb
    if needed_mb > budget_mb:
        raise UsageError(
            f"a memory budget of {budget_mb} MB cannot hold {permanent} annotated slices",
            remedy=f"They need {math.ceil(needed_mb)} MB: raise --memory-budget-mb, or carry fewer organs.",
        )
    return min(wanted, int((budget_mb - needed_mb) / frame.size_mb))


class MemoryBank:
    """A fixed number of frames, allocated at once: `permanent` ones that stay, then a ring of `passing` ones."""

    def __init__(self, like: Frame, *, permanent: int, passing: int) -> None:
        tokens, objects, frames = len(like.key), len(like.value), permanent + passing
        self._tokens, self._permanent, self._places = tokens, permanent, passing
        self._key = like.key.new_empty(frames * tokens, like.key.shape[1])
        self._value = like.value.new_empty(
            objects, frames * tokens, like.value.shape[2] + 1
        )  # what shows the object comes last
        self._usable = like.usable.new_zeros(objects, frames)
        self._z = torch.zeros(frames, device=like.key.device)
        self._kept = self._passed = 0

    @property
    def annotated_objects(self) -> Tensor:
        """(K,) bool: objects that some annotated slice shows."""
        return self._usable[:, : self._kept].any(dim=1)

    def keep(self, frame: Frame) -> None:
        """Remember an annotated slice for good. Raises ValueError when no place is left or slices have passed."""
        if self._kept == self._permanent or self._passed:
            raise ValueError(f"{self._permanent} annotated slices are remembered, before any other")
        self._write(self._kept, frame)
        self._kept += 1

    def pass_by(self, frame: Frame) -> None:
        """Remember a propagated slice until as many newer ones as the ring has places have come."""
        if not self._places:
            return
        self._write(self._kept + self._passed % self._places, frame)
        self._passed += 1

    def forget_passing(self) -> None:
        """Forget every propagated slice."""
        self._passed = 0

    def read(self, query_key: Tensor, z: int, *, top_k: int | None, bias_per_slice: float) -> Readout:
        """What query tokens (Q, C) of slice z read; `bias_per_slice` disfavours remote frames."""
        frames = self._kept + min(self._passed, self._places)
        usable = self._usable[:, :frames]
        planes = read_memory(
            self._key[None, : frames * self._tokens],
            query_key[None],
            self._value[None, :, : frames * self._tokens],
            top_k=top_k,
            frame_mask=None if usable.all() else usable[None],
            frame_bias=-bias_per_slice * (self._z[None, :frames] - z).abs(),
        )[0]
        return Readout(planes[..., :-1], planes[..., -1])

    def _write(self, place: int, frame: Frame) -> None:
        tokens = slice(place * self._tokens, (place + 1) * self._tokens)
        self._key[tokens] = frame.key
        self._value[:, tokens, :-1] = frame.value
        self._value[:, tokens, -1] = frame.shows
        self._usable[:, place] = frame.usable
        self._z[place] = frame.z
