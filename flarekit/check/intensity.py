"""Whether a volume's values can be HU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flarekit.check.findings import ERROR, IMAGE, NOTE, WARNING, Finding
from flarekit.check.stored import ValueRange
from flarekit.volumes.hu import SCANNER_OFFSET, find_offset

_NARROW_HU = 100  # between the 1st and 99th percentile: a CT with air, fat or bone in it spans more
_NORMALISED = 20  # z-scores and the like lie within
_FEW_VALUES = 60  # different values that a label map may have
_PADDING_HU = -1100  # nothing in a patient is thinner than air
_UNDERSHOT_PERCENT = 0.1
_FAT_HU = -100  # somewhere in a CT there is fat, or air
_AIR_HU, _BONE_HU = -900, 1000  # a CT in HU ends beyond them, but for a window it was clipped to
_CLIPPED_SHARE = 0.01  # of the voxels that have the lowest value, or the highest
_NO_AIR_HU, _SOFT_HU = -300, (-200, 300)  # fat, organs, muscle, and contrast up to that of a vein
_SOFT_SHARE = 0.5  # of what is no air: 0.73 to 0.97 in real CTs, 0.1 to 0.3 in MR stretched over a CT's range
_THINNEST_HU, _DENSEST_HU = -32768, 32767  # what a voxel can hold


def intensity_findings(span: ValueRange, sample: np.ndarray) -> list[Finding]:
    """What speaks against the values being HU; `sample` (z, h, w) are some of them."""
    if not span.has_numbers:
        return [_error("nan", f"holds no image: all {span.broken} voxels are NaN or infinite.")]
    findings = list(_range_findings(span, sample))
    if span.broken:
        text = f"{span.broken} voxels are NaN or infinite. Replace them, for example by -1024 (air)."
        repair = "NaN and infinite voxels set to -1024"
        findings.insert(0, Finding(severity=ERROR, code="nan", file=IMAGE, repair=repair, text=text))
    return findings


def _range_findings(span: ValueRange, sample: np.ndarray) -> Iterator[Finding]:
    lowest, highest = np.clip((span.low, span.high), _THINNEST_HU, _DENSEST_HU)  # as it would be read
    if lowest == highest:
        yield _error("constant", f"holds no image: every voxel is read as {lowest:g}.")
    elif span.low >= 0 and span.high <= 255:
        yield _not_hu(span, sample)
    elif abs(span.low) <= _NORMALISED and abs(span.high) <= _NORMALISED:
        yield _error("normalised", f"values of {span.low:g}..{span.high:g}: normalised, not HU. {_AGAIN}")
    elif find_offset(sample):
        yield Finding(
            severity=WARNING, code="offset", file=IMAGE, repair=f"{SCANNER_OFFSET} taken off every value",
            text=f"values are HU + {SCANNER_OFFSET}: the RescaleIntercept was lost. Commands take it off "
            "(--hu-offset auto).",
        )  # fmt: skip
    else:
        yield from _doubts(span, sample)


def _not_hu(span: ValueRange, sample: np.ndarray) -> Finding:
    if span.high <= 1:
        return _error("scaled", f"values of {span.low:g}..{span.high:g}: scaled, not HU. {_AGAIN}")
    values = np.unique(sample)
    if len(values) <= _FEW_VALUES and (values == np.rint(values)).all():
        return _error("label-map", f"looks like a label map with ids up to {span.high:g}: name it with --labels.")
    return _error("8-bit", f"values of {span.low:g}..{span.high:g}: an 8-bit image, not HU. {_AGAIN}")


def _doubts(span: ValueRange, sample: np.ndarray) -> Iterator[Finding]:
    first, last = np.percentile(sample, (1, 99))
    lowest = _above_padding(sample)
    if last - first < _NARROW_HU and lowest < 0:
        yield _warning("narrow", f"98 % of the values lie in {first:g}..{last:g}: too narrow for a CT in HU.")
    elif lowest >= _FAT_HU:
        yield _warning(
            "all-positive",
            f"values of {span.low:g}..{span.high:g}, no fat and no air but for padding: no CT in HU, or one with an "
            "offset that is not plain to see. If you know it is, take it off with --hu-offset N.",
        )
    elif span.high <= _DENSEST_HU and (share := _soft_share(sample)) < _SOFT_SHARE:
        yield _error(
            "no-soft-tissue",
            f"of what is no air, {share:.0%} has the HU of fat and soft tissue: no CT, as an MR that was scaled like "
            f"one. {_AGAIN}",
        )
    elif _is_clipped(span, sample):
        text = f"values end sharply at {span.low:g} and {span.high:g}: clipped to a window? {_AGAIN}"
        yield _warning("clipped", text)
    if span.high > _DENSEST_HU:
        yield _warning("huge", f"values up to {span.high:g}: read as {_DENSEST_HU}. Were negative numbers unsigned?")
    if span.low < _PADDING_HU:
        yield Finding(severity=NOTE, code="padding", file=IMAGE, text=f"values from {span.low:g}: padding, as air.")


def _is_clipped(span: ValueRange, sample: np.ndarray) -> bool:
    shares = [np.count_nonzero(sample == end) / sample.size for end in (span.low, span.high)]
    is_sharp = [share > _CLIPPED_SHARE for share in shares]
    return bool((span.low > _AIR_HU and is_sharp[0]) or (span.high < _BONE_HU and is_sharp[1]))


def _soft_share(sample: np.ndarray) -> float:
    """Of the voxels that are no air, how many have the HU of soft tissue; 1 where all is air."""
    dense = sample[sample > _NO_AIR_HU]
    return np.count_nonzero((dense >= _SOFT_HU[0]) & (dense < _SOFT_HU[1])) / dense.size if dense.size else 1.0


def _above_padding(sample: np.ndarray) -> float:
    """The lowest value but for the very lowest, which may be padding, and for a few that interpolation undershot."""
    rest = sample[sample > sample.min()]
    return float(np.percentile(rest, _UNDERSHOT_PERCENT)) if rest.size else 0.0


_AGAIN = "Export the CT again with its HU."


def _error(code: str, text: str) -> Finding:
    return Finding(severity=ERROR, code=code, text=text, file=IMAGE)


def _warning(code: str, text: str) -> Finding:
    return Finding(severity=WARNING, code=code, text=text, file=IMAGE)
