"""How far along the body an organ reaches: not past the slices on which the reference module sees little of it."""

from __future__ import annotations

from collections.abc import Iterator

from flarekit.reference.evidence import OrganTable


def out_of_reach(table: OrganTable, depth: int, least_mm2: float) -> Iterator[tuple[int, slice]]:
    """Each organ's class and the slices beyond it, of `depth` in all.

    At either end these begin with the first slice looked at that shows less than `least_mm2` of the organ, counted
    outwards from the last one that shows so much. Where no slice does, none are beyond it.
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
