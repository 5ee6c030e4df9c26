"""The CT series in a folder, and the one that is meant."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from flarekit.errors import InputError, UsageError
from flarekit.volumes.dicom import tags
from flarekit.volumes.dicom.elements import Elements
from flarekit.volumes.dicom.header import Header
from flarekit.volumes.dicom.slices import Slice, slices_of

_SCOUT = 2  # a series of so few slices is no candidate beside longer ones
_PHASE_TAGS = (
    (tags.ACQUISITION, "acquisition"),
    (tags.TEMPORAL_POSITION, "temporal position"),
    (tags.CONTENT_TIME, "content time"),
)
_SAME_PLACE_DECIMALS = 3  # of a millimetre
_LISTED = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One CT volume's slices, in any order: a series, or one phase of a series that repeats its positions."""

    uid: str
    slices: tuple[Slice, ...]
    phase: int = 0  # 1, 2 ... where the series holds several
    phase_name: str = ""  # what tells it from the others

    @property
    def number(self) -> str:
        """The number that the scanner gave the series; empty without one."""
        return self._first.text(tags.SERIES_NUMBER)

    def named(self, name: str) -> str:
        """How a list of series shows it; nothing of it names a patient."""
        rows, columns = self.slices[0].shape
        kernel = self._first.text(tags.KERNEL).partition("\\")[0]
        parts = [
            f"{name}: {self._first.text(tags.SERIES_DESCRIPTION)[:64]!r}",
            f"{len(self.slices)} slices of {rows} x {columns}",
            *([f"{self._apart_mm:.2f} mm apart"] if self._apart_mm else []),
            *([f"kernel {kernel[:32]!r}"] if kernel else []),
            *([self.phase_name] if self.phase else []),
        ]
        return ", ".join(parts)

    @property
    def _first(self) -> Elements:
        return self.slices[0].header.elements

    @property
    def _apart_mm(self) -> float:
        """The usual distance between neighbouring slices; 0 where it is unknown."""
        places = np.array([s.position_mm for s in self.slices if len(s.position_mm) == 3])
        if len(places) < 2:
            return 0.0
        along = places[:, np.ptp(places, axis=0).argmax()]
        return float(np.median(np.diff(np.unique(along))))


def find_series(headers: Sequence[Header]) -> list[Series]:
    """The CT volumes among some files; localizers, scouts and all that is no CT image are left out."""
    cts = sorted((h for h in headers if h.is_ct and not h.content.damage), key=_uid)
    found = [part for uid, group in groupby(cts, key=_uid) for part in _phases(uid, _slices(list(group)))]
    longest = max((len(series.slices) for series in found), default=0)
    return [s for s in found if len(s.slices) > _SCOUT or longest <= _SCOUT]


def choose(headers: Sequence[Header], wanted: str | None, where: Path) -> Series:
    """The CT volume of that series number or UID (and phase, as 2:1), or the only one there is.

    Raises InputError where there is none, several without a choice, or one with a damaged file; UsageError where
    there is none of that name.
    """
    found = find_series(headers)
    if not found:
        _refuse_damaged([h for h in headers if h.may_be_ct])
        raise _no_ct(headers, where)
    names = _names(found)
    matching = [s for s, name in zip(found, names, strict=True) if wanted in (None, name, _by_uid(s))]
    listed = "; ".join(s.named(name) for s, name in list(zip(found, names, strict=True))[:_LISTED])
    if not matching:
        raise UsageError(f"--series {wanted} is not among the CT series of {where}: {listed}", remedy="Choose one.")
    if len(matching) > 1:
        raise InputError(
            f"holds {len(found)} CT series: {listed}", where=where, remedy=f"Choose one, as with --series {names[0]}."
        )
    _refuse_damaged([h for h in headers if h.may_be_ct and _uid(h) in ("", matching[0].uid)])
    _tell_left_out(headers, matching[0])
    return matching[0]


def _uid(header: Header) -> str:
    return header.elements.text(tags.SERIES_UID)


def _slices(headers: Sequence[Header]) -> tuple[Slice, ...]:
    return tuple(slice_ for header in headers for slice_ in slices_of(header))


def _phases(uid: str, slices: tuple[Slice, ...]) -> list[Series]:
    """The series, or its phases where several slices at each position are told apart by one of the tags."""
    if not _repeats(slices):
        return [Series(uid=uid, slices=slices)]
    for tag, name in _PHASE_TAGS:
        parts = _parts(slices, tag)
        if len(parts) > 1 and all(len(part) > 1 and not _repeats(part) for part in parts.values()):
            return [
                Series(uid=uid, slices=part, phase=number, phase_name=f"{name} {value}")
                for number, (value, part) in enumerate(parts.items(), start=1)
            ]
    return [Series(uid=uid, slices=slices)]


def _parts(slices: tuple[Slice, ...], tag: int) -> dict[str, tuple[Slice, ...]]:
    def value(slice_: Slice) -> tuple[float, str]:
        elements = slice_.header.elements
        return float(np.nan_to_num(elements.number(tag, 0.0))), elements.text(tag)

    return {text: tuple(part) for (_, text), part in groupby(sorted(slices, key=value), key=value)}


def _repeats(slices: tuple[Slice, ...]) -> bool:
    places = [tuple(round(mm, _SAME_PLACE_DECIMALS) for mm in s.position_mm) for s in slices if s.position_mm]
    return len(set(places)) < len(places)


def _names(found: Sequence[Series]) -> list[str]:
    """What each is chosen by: its series number, or its place in the list where these are missing or repeated."""
    numbers = {series.uid: series.number for series in found}
    if len(set(numbers.values())) < len(numbers) or not all(numbers.values()):
        numbers = {uid: str(place) for place, uid in enumerate(numbers, start=1)}
    return [f"{numbers[series.uid]}{_suffix(series)}" for series in found]


def _by_uid(series: Series) -> str:
    return f"{series.uid}{_suffix(series)}"


def _suffix(series: Series) -> str:
    return f":{series.phase}" if series.phase else ""


def _no_ct(headers: Sequence[Header], where: Path) -> InputError:
    remedy = "Check the path: it has to lead to the slices of a CT."
    if not headers:
        return InputError("holds no DICOM image", where=where, remedy=remedy)
    kinds = ", ".join(sorted({header.kind for header in headers}))
    return InputError(f"holds no CT series, only {kinds}", where=where, remedy=remedy)


def _refuse_damaged(headers: Sequence[Header]) -> None:
    for header in headers:
        if header.content.damage:
            raise InputError(
                f"cannot be read: {header.content.damage}",
                where=header.path,
                remedy="Copy or download it again, or take it away if it belongs to another scan.",
            )


def _tell_left_out(headers: Sequence[Header], chosen: Series) -> None:
    """Say which files name the chosen series, but are no images of it: a localizer is one, a damaged file may be."""
    out = [h.path.name for h in headers if chosen.uid and _uid(h) == chosen.uid and not h.is_ct]
    if out:
        logger.warning("%s: %d files of the series are no CT images and are left out.", out[0], len(out))
