"""A report from finished files: a CT, its mask, and what lies beside the mask."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flarekit.check.volume import volume_findings
from flarekit.errors import InputError
from flarekit.labels import FLARE22, LabelSet
from flarekit.report.by_slice import means
from flarekit.report.mask_facts import ASSUMED, doubts_about, measured_organs, volumes_ml
from flarekit.report.page import ReportCase
from flarekit.report.sidecars import certainty_of, labels_in_header, labels_of, read_sidecar
from flarekit.report.statistics import Units, measure
from flarekit.volumes import Volume, read_labels, read_volume, require_same_grid
from flarekit.volumes.hu import AUTO, HuOffset
from flarekit.volumes.reading import read_stored
from flarekit.volumes.writing import sidecar_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """The files of one case."""

    image: Path  # the CT
    mask: Path  # its label map; facts come from the JSON of the same name, where there is one
    uncertainty: Path | None = None  # a map of it on the same grid
    labels: LabelSet | None = None  # the organs' names and ids; None: the JSON's, or else FLARE22's
    series: str | None = None  # which of a DICOM folder's series
    hu_offset: HuOffset = AUTO  # what is taken off the CT's values to make them HU


def read_case(case: ReportFiles) -> ReportCase:
    """What a report needs, from files. Raises InputError when they cannot be read or lie on different grids."""
    image = read_volume(case.image, hu_offset=case.hu_offset, series=case.series)
    mask = read_labels(case.mask, like=image)
    require_same_grid(image, mask)
    sidecar = read_sidecar(sidecar_path(case.mask))
    named = case.labels or labels_of(sidecar) or labels_in_header(case.mask)
    labels = named or FLARE22
    classes = labels.to_classes(mask.array, where=case.mask)
    doubts = doubts_about(sidecar, case.image.name, volumes_ml(classes, labels, image.voxel_ml))
    doubts += [] if named else [ASSUMED]
    for doubt in doubts:
        logger.warning("%s: %s", case.mask, doubt["text"])
    organs = len(labels.names)
    return ReportCase(
        volume=image,
        classes=classes,
        labels=labels,
        sidecar=_facts(image, classes, labels, sidecar, doubts) | {"image": case.image.name},
        certainty=certainty_of(sidecar, image, labels),
        uncertainty=None if case.uncertainty is None else _uncertainty(case.uncertainty, image, classes, organs),
    )


def _facts(
    image: Volume,
    classes: np.ndarray,
    labels: LabelSet,
    sidecar: Mapping[str, Any],
    doubts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The sidecar with measurements of the mask, and with flags about the CT where it has none."""
    findings = volume_findings(image)
    measured = measure(image, classes, range(1, labels.classes), Units.of(findings))
    flags = sidecar.get("flags", [asdict(finding) for finding in findings])
    return {**sidecar, "flags": [*flags, *doubts], "organs": measured_organs(sidecar, labels, measured)}


def _uncertainty(path: Path, image: Volume, classes: np.ndarray, organs: int) -> np.ndarray:
    """float64 (organs, Z): the map's mean over each organ's voxels on a slice."""
    volume, raw = read_stored(path)
    require_same_grid(image, volume)
    values = means(volume.array, classes, organs) * raw.slope + raw.intercept
    if not ((values[~np.isnan(values)] >= 0) & (values[~np.isnan(values)] <= 1)).all():
        raise InputError("is no map of values in 0..1", where=path, remedy="Give what segment --uncertainty wrote.")
    return values
