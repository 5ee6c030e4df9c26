"""Which slices are filled, and from which side."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from flarekit.config.propagation import PropagationConfig


@dataclass(frozen=True)
class Gap:
    """Slices without annotation between two annotated ones, or beyond the first or last, in walking order."""

    forward: range  # upwards from the annotated slice below
    backward: range  # downwards from the annotated slice above

    @property
    def slices(self) -> list[int]:
        """All slices of the gap that are filled, from the lowest up."""
        return sorted({*self.forward, *self.backward})

    def meeting(self, overlap: int) -> Gap:
        """The same slices, each direction going at most half of `overlap` beyond the middle where the other came too.

        The directions then share at most about `overlap` slices, however long the gap.
        """
        reach = (len(self.slices) + overlap + 1) // 2
        lowest, highest = self.backward.stop + 1, self.forward.stop  # what backward reaches, what forward does not
        if not self.forward or not self.backward:
            return self
        return Gap(
            range(self.forward.start, min(self.forward.stop, max(self.forward.start + reach, lowest))),
            range(self.backward.start, max(self.backward.stop, min(self.backward.start - reach, highest - 1)), -1),
        )


def gaps(annotated: Collection[int], depth: int, config: PropagationConfig) -> list[Gap]:
    """The gaps of a volume of `depth` slices, from the lowest up.

    An annotated slice T spreads over [T - before, T + after] (paper, section 2.2), as far as the next one.
    """
    return [_gap(below, above, depth, config) for below, above in pairwise([None, *sorted(annotated), None])]


def filled_slices(annotated: Collection[int], depth: int, config: PropagationConfig) -> list[int]:
    """Slices that propagation answers for, annotated ones included, from the lowest up."""
    between = [z for gap in gaps(annotated, depth, config) for z in gap.slices]
    return sorted([*annotated, *between])


def _gap(below: int | None, above: int | None, depth: int, config: PropagationConfig) -> Gap:
    first = 0 if below is None else below + 1
    stop = depth if above is None else above
    forward, backward = range(0), range(0)
    if below is not None:
        forward = range(first, stop if config.after is None else min(stop, first + config.after))
    if above is not None:
        last = first if config.before is None else max(first, above - config.before)
        backward = range(stop - 1, last - 1, -1)
    return Gap(forward, backward)
