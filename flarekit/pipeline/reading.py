"""A case's CT, and whether a mask of it can mean anything."""

from __future__ import annotations

from flarekit.check import ERROR
from flarekit.check.volume import volume_findings
from flarekit.data.layouts import CaseFiles
from flarekit.errors import InputError
from flarekit.pipeline.flags import Flag
from flarekit.volumes import Volume, read_volume


def read_case(case: CaseFiles, *, force: bool = False) -> tuple[Volume, tuple[Flag, ...]]:
    """The CT as int16 HU, and what is doubtful about it.

    Raises what `read_volume` does, and InputError where its values or its grid cannot be a CT's; not with `force`,
    which makes these errors flags.
    """
    volume = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
    return volume, admitted(volume, force=force)


def admitted(volume: Volume, *, force: bool = False) -> tuple[Flag, ...]:
    """What is doubtful about a CT that has been read. Raises InputError as `read_case` does."""
    findings = volume_findings(volume)
    errors = [finding for finding in findings if finding.severity == ERROR]
    if errors and not force:
        raise InputError(
            errors[0].text.rstrip("."),
            where=volume.path,
            remedy="If it is a CT in HU all the same, --force segments it.",
        )
    return tuple(Flag.of(finding) for finding in findings)
