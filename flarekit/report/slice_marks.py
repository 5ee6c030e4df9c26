"""The strip under the slider of axial slices: which of them the networks were shown."""

from __future__ import annotations

from collections.abc import Collection


def slice_marks(depth: int, references: Collection[int], looked: Collection[int]) -> str:
    """Long marks where one of `depth` slices was a reference, short ones where it was looked at besides.

    Nothing where neither is known.
    """
    others = set(looked) - set(references)
    if not (references or others):
        return ""
    return (
        f'<svg class="marks" viewBox="0.5 0 {max(depth - 1, 1)} 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="looked" d="{_ticks(others, 5)}"/><path class="reference" d="{_ticks(references, 10)}"/></svg>\n'
        f'<p class="marks-legend"><b>&#9646;</b> reference slices: {len(references)} '
        f"&middot; also looked at: {len(others)}</p>"
    )


def _ticks(slices: Collection[int], length: int) -> str:
    return "".join(f"M{z + 0.5} 0v{length}" for z in sorted(slices))
