"""How far along the body an organ reaches: not past the slices on which the reference module sees it no more."""

from __future__ import annotations

from collections.abc import Iterator

from flarekit.reference.evidence import OrganTable


def out_of_reach(table: OrganTable, depth: int, least_mm2: float) -> Iterator[tuple[int, slice]]:
    """Each organ's class and slices, of `depth`, that are beyond it: those at either end without that much of it.

    The slice seen next to its outermost one with that area is the first of them; an organ that no slice shows so
    much of has none.
    """
    for c, areas in enumerate(table.area_mm2.T, start=1):
        seen = (areas >= least_mm2).nonzero()[0]
        if not seen.size:
            continue
        first, last = int(seen[0]), int(seen[-1])
        if first > 0:
            yield c, slice(0, table.slices[first - 1] + 1)
        if last + 1 < len(table.slices):
            yield c, slice(table.slices[last + 1], depth)
