"""What speaks against a CT that has been read, and would be segmented now."""

from __future__ import annotations

from collections.abc import Iterator

from flarekit.check.findings import ERROR, IMAGE, WARNING, Finding
from flarekit.check.grids import oddities
from flarekit.check.intensity import intensity_findings
from flarekit.check.stored import ValueRange
from flarekit.volumes import Volume
from flarekit.volumes.hu import sampled

FIELD_MM = (80.0, 2000.0)  # the longer side of a slice: from a crop around an organ to beyond any scanner's bore
_NO_CT = {"all-positive"}  # a warning about a file in a data set; a mask made of it would be nonsense


def volume_findings(volume: Volume) -> list[Finding]:
    """Findings about the values, int16 HU (Z, H, W), and the grid; an error says that no mask of it can be right."""
    hu = volume.array
    span = ValueRange(low=float(hu.min()), high=float(hu.max()))
    values = [_graver(finding) for finding in intensity_findings(span, sampled(hu))]
    return [*values, *_field_findings(volume), *(_odd(code, text) for code, text in oddities(volume))]


def _graver(finding: Finding) -> Finding:
    if finding.code not in _NO_CT:
        return finding
    return Finding(severity=ERROR, code=finding.code, text=finding.text, file=finding.file)


def _field_findings(volume: Volume) -> Iterator[Finding]:
    """An error where the spacing cannot be one in millimetres."""
    sides_mm = [pixels * mm for pixels, mm in zip(volume.array.shape[1:], volume.spacing_mm[1:], strict=True)]
    low, high = FIELD_MM
    if not low <= max(sides_mm) <= high:
        text = (
            f"slices measure {sides_mm[0]:.3g} x {sides_mm[1]:.3g} mm: that is no patient. Is its unit of length not "
            "the millimetre? Repair the spacing in its header."
        )
        yield Finding(severity=ERROR, code="field-of-view", text=text, file=IMAGE)


def _odd(code: str, text: str) -> Finding:
    return Finding(severity=WARNING, code=code, text=text, file=IMAGE)
