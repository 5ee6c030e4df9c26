"""Which slices the reference module sees: a uniform sample first, then more where an organ is in doubt.

The paper samples uniformly and stops there, so that an organ between two sampled slices is lost. The second
look is ours; its rule is in `second_look`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from flarekit.config.reference import SamplingConfig, SecondPassConfig
from flarekit.reference.evidence import OrganTable


def uniform_slices(depth: int, spacing_mm: float, config: SamplingConfig) -> tuple[int, ...]:
    """Slice numbers a constant step apart, centred in a volume of `depth` slices `spacing_mm` apart.

    A volume shallower than a step gives its middle slice.
    """
    step = config.every or max(1, int(config.every_mm / spacing_mm + 1e-6))
    first = (depth - 1) % step // 2 if depth > step else depth // 2
    return tuple(range(first, depth, step))


def doubtful_organs(table: OrganTable, config: SecondPassConfig) -> tuple[int, ...]:
    """Organs (0-based columns) that no slice shows well: each of them smaller or less certain than asked for."""
    good = (table.area_mm2 >= config.min_area_mm2) & (table.certainty >= config.min_certainty)
    good &= table.area_mm2 > 0
    return tuple(int(organ) for organ in np.flatnonzero(~good.any(axis=0)))


def second_look(table: OrganTable, depth: int, config: SecondPassConfig) -> tuple[int, ...]:
    """Slice numbers to segment as well, at most `max_slices`, ascending; none when no organ is in doubt.

    A doubtful organ with a hint (its peak probability on some slice reaches `hint_probability`): every slice
    between the sampled neighbours of the slice where the hint is strongest; strongest hints come first.
    A doubtful organ without a hint: the slices halfway between sampled neighbours, all over the part of the
    volume where organs were found and one step beyond it (everywhere when none was found); these come last,
    evenly thinned out to what `max_slices` leaves.
    """
    doubtful = doubtful_organs(table, config)
    if not doubtful or config.max_slices == 0:
        return ()
    peaks = table.peak[:, doubtful].max(axis=0)
    order = np.argsort(-peaks, kind="stable")
    wanted: dict[int, None] = {}
    for column in order[peaks[order] >= config.hint_probability]:
        best = int(table.peak[:, doubtful[column]].argmax())
        wanted.update(dict.fromkeys(_around(table.slices, best, depth)))
    chosen = list(wanted)[: config.max_slices]
    if (peaks < config.hint_probability).any():
        halfway = [z for z in _halfway(table, depth) if z not in wanted]
        chosen += _thinned(halfway, config.max_slices - len(chosen))
    return tuple(sorted(chosen))


def _around(slices: tuple[int, ...], index: int, depth: int) -> Iterable[int]:
    """Unseen slices between the sampled neighbours of the sampled slice at `index`, nearest first."""
    low = slices[index - 1] if index > 0 else -1
    high = slices[index + 1] if index + 1 < len(slices) else depth
    between = (z for z in range(low + 1, high) if z != slices[index])
    return sorted(between, key=lambda z: (abs(z - slices[index]), z))


def _halfway(table: OrganTable, depth: int) -> list[int]:
    """Midpoints between sampled slices (and the volume's ends) over the part that holds organs."""
    found = np.flatnonzero(table.area_mm2.any(axis=1))
    first, last = (int(found[0]), int(found[-1])) if len(found) else (0, len(table.slices) - 1)
    marks = (-1, *table.slices, depth)
    gaps = zip(marks[first : last + 2], marks[first + 1 : last + 3], strict=True)
    return [(low + high) // 2 for low, high in gaps if high - low > 1]


def _thinned(slices: list[int], count: int) -> list[int]:
    """At most `count` of the slices, spread evenly."""
    if len(slices) <= count:
        return slices
    return [slices[int(i)] for i in (np.arange(count) + 0.5) * len(slices) / count] if count > 0 else []
